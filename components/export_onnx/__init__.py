"""The `export_onnx` step."""
