"""A bundle as a model of NVIDIA Triton: <name>/config.pbtxt, <name>/labels.txt, <name>/1/model.onnx."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from netslim.bundle.layout import LABELS, MODEL, SIGNATURE, read_small
from netslim.errors import ConfigError

__all__ = ["MAX_BATCH", "triton_layout"]

MAX_BATCH = 32  # Triton's own guess would be 4


def triton_layout(bundle: Path, repository: Path, name: str) -> Path:
    """Write the model `name` into the folder `repository`, and return its own folder there.

    Raises:
        ConfigError: Triton could not call a model so.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        remedy = "Use letters, digits, dash and underscore"
        raise ConfigError("no name for a served model", field="name", value=name, remedy=remedy)
    signature = json.loads(read_small(bundle, SIGNATURE))
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(bundle / MODEL, folder / "1" / MODEL)
    shutil.copyfile(bundle / LABELS, folder / LABELS)
    (given,), (made,) = signature["inputs"], signature["outputs"]
    # The batch axis is not among dims where max_batch_size is set.
    shape, classes = (value["shape"][1:] for value in (given, made))
    config = f"""\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [{{ name: "{given["name"]}", data_type: TYPE_FP32, dims: {shape} }}]
output [{{ name: "{made["name"]}", data_type: TYPE_FP32, dims: {classes}, label_filename: "{LABELS}" }}]
dynamic_batching {{}}
"""
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    return folder
