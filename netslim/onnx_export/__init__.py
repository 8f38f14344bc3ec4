"""Export to ONNX (`export`, with torch), and the measurement of ONNX files (`runtime`, without torch)."""

import os

# onnxruntime reads this variable when it is imported. Without it, it writes a database and a device id to
# ~/.cache/Microsoft, and sends events. A value that the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
