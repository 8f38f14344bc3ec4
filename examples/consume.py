"""Classify image files with a netslim bundle: python consume.py BUNDLE IMAGE...

Needs onnxruntime, numpy and pillow. Preprocessing is part of model.preproc.onnx.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

bundle, *files = map(Path, sys.argv[1:])
session = onnxruntime.InferenceSession(bundle / "model.preproc.onnx")
labels = (bundle / "labels.txt").read_text(encoding="utf-8").splitlines()
given = session.get_inputs()[0]
for file in files:
    image = Image.open(file).convert("RGB" if given.shape[3] == 3 else "L")
    pixels = np.asarray(image).reshape(1, image.height, image.width, given.shape[3])
    (probabilities,) = session.run(None, {given.name: pixels})[0]
    best = probabilities.argmax()
    print(f"{file} {labels[best]} {probabilities[best]:.1%}")
