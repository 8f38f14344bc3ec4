"""Export to ONNX (`export`, with torch), and the measurement of ONNX files (`runtime`, without torch)."""
