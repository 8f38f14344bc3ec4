"""A bundle as a model of NVIDIA Triton: <name>/config.pbtxt, <name>/labels.txt, <name>/1/model.onnx."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from netslim.bundle.layout import LABELS, MODEL, SIGNATURE, read_file
from netslim.errors import ConfigError

__all__ = ["MAX_BATCH", "triton_layout"]

MAX_BATCH = 32  # without it Triton's default is 4


def triton_layout(bundle: Path, repository: Path, name: str) -> Path:
    """Write the model `name` into the Triton repository `repository`; returns the folder of the model.

    Raises:
        ConfigError: `name` is not a valid model name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        remedy = "Use letters, digits, dash and underscore"
        raise ConfigError("not a valid name for a served model", field="name", value=name, remedy=remedy)
    signature = json.loads(read_file(bundle, SIGNATURE))
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(bundle / MODEL, folder / "1" / MODEL)
    shutil.copyfile(bundle / LABELS, folder / LABELS)
    (images,), (logits,) = signature["inputs"], signature["outputs"]
    # Triton's dims leave out the batch axis, because max_batch_size is set.
    shape, classes = (value["shape"][1:] for value in (images, logits))
    config = f"""\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [{{ name: "{images["name"]}", data_type: TYPE_FP32, dims: {shape} }}]
output [{{ name: "{logits["name"]}", data_type: TYPE_FP32, dims: {classes}, label_filename: "{LABELS}" }}]
dynamic_batching {{}}
"""
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    return folder
