"""Export to ONNX, and the measurement of exported models with onnxruntime."""
