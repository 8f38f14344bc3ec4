"""The files of a bundle that follow from the network alone. The step export_onnx writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netslim.bundle.layout import LABELS, SAMPLES, SIGNATURE, SLIMMING
from netslim.data.normalisation import normalise
from netslim.errors import printable
from netslim.storage.atomic import write_json

if TYPE_CHECKING:
    from netslim.data import DatasetInfo
    from netslim.pruning.plan import Plan

__all__ = ["SAMPLE_IMAGES", "export_contents", "write_samples"]

SAMPLE_IMAGES = 8


def export_contents(folder: Path, info: DatasetInfo, plan: Plan) -> None:
    """Write labels.txt, signature.json and slimming.json into `folder`."""
    labels = "".join(f"{_single_line(name)}\n" for name in info.classes)
    (folder / LABELS).write_text(labels, encoding="utf-8")
    write_json(folder / SIGNATURE, _io_signature(info))
    channels = {
        path: {"of": edit.out.of, "kept": len(edit.out.kept)}
        for path, edit in plan.layers.items()
        if edit.norm and edit.out
    }
    write_json(folder / SLIMMING, {"plan_digest": plan.digest, "channels": channels, "plan": plan.to_json()})


def _io_signature(info: DatasetInfo) -> dict[str, Any]:
    """Inputs and outputs of model.onnx, of model.preproc.onnx, and the preprocessing between them."""
    outputs = ["batch", len(info.classes)]
    images = ["batch", info.channels, *info.image_size]
    pixels = ["batch", "height", "width", info.channels]
    return {
        "inputs": [{"name": "input", "dtype": "float32", "shape": images}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": outputs}],
        "preprocessing": {
            "order": {1: "grey", 3: "RGB"}.get(info.channels, "as in the dataset"),
            "layout": "NCHW",
            "size": list(info.image_size),
            "scale": "x / 255",
            "mean": list(info.mean),
            "std": list(info.std),
            "resize": "other sizes are resized (bilinear, antialiased) to cover size x 256/224; centre crop",
        },
        "with_preprocessing": {
            "inputs": [{"name": "images", "dtype": "uint8", "shape": pixels}],
            "outputs": [{"name": "probabilities", "dtype": "float32", "shape": outputs}],
        },
    }


def write_samples(
    folder: Path,
    pixels: npt.NDArray[np.uint8],
    logits: npt.NDArray[np.float32],
    info: DatasetInfo,
) -> None:
    """Write samples.safetensors: images, the network's input for them, and the logits from PyTorch.

    Args:
        pixels: uint8 [n, H, W, C].
        logits: float32 [n, classes].
    """
    from safetensors.numpy import save_file

    arrays = {"pixels": np.ascontiguousarray(pixels), "input": normalise(pixels, info), "logits": logits}
    save_file(arrays, folder / SAMPLES)


def _single_line(name: str) -> str:
    """A class name without line breaks, which would start the next label, and without control characters."""
    return printable(" ".join(name.split())) or "?"
