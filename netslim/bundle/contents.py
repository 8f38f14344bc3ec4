"""The part of a bundle that follows from the network alone: what export_onnx lays beside model.onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netslim.bundle.layout import LABELS, SAMPLES, SIGNATURE, SLIMMING
from netslim.onnx_export.runtime import normalise
from netslim.storage.atomic import write_json

if TYPE_CHECKING:
    from netslim.data import DatasetInfo
    from netslim.pruning.plan import Plan

__all__ = ["SAMPLE_IMAGES", "preprocessing", "write_samples", "write_static"]

SAMPLE_IMAGES = 8


def preprocessing(info: DatasetInfo) -> dict[str, Any]:
    """What happens to the pixels before the network, as data."""
    return {
        "order": "RGB" if info.channels == 3 else "grey" if info.channels == 1 else "as in the dataset",
        "layout": "NCHW",
        "size": list(info.image_size),
        "scale": "x / 255",
        "mean": list(info.mean),
        "std": list(info.std),
        "resize": "other sizes are resized (bilinear, antialiased) to cover size x 256/224; the centre cut",
    }


def write_static(folder: Path, info: DatasetInfo, plan: Plan) -> None:
    """Write labels.txt, signature.json and slimming.json into `folder`."""
    (folder / LABELS).write_text("".join(f"{_one_line(name)}\n" for name in info.classes), encoding="utf-8")
    shape, classes = [info.channels, *info.image_size], len(info.classes)
    signature = {
        "inputs": [{"name": "input", "dtype": "float32", "shape": ["batch", *shape]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", classes]}],
        "preprocessing": preprocessing(info),
        "with_preprocessing": {
            "inputs": [
                {
                    "name": "images",
                    "dtype": "uint8",
                    "shape": ["batch", "height", "width", info.channels],
                }
            ],
            "outputs": [{"name": "probabilities", "dtype": "float32", "shape": ["batch", classes]}],
        },
    }
    write_json(folder / SIGNATURE, signature)
    layers = {
        path: {"of": edit.out.of, "kept": len(edit.out.kept)}
        for path, edit in plan.layers.items()
        if edit.norm and edit.out
    }
    write_json(folder / SLIMMING, {"plan_digest": plan.digest, "channels": layers, "plan": plan.to_json()})


def write_samples(
    folder: Path,
    pixels: npt.NDArray[np.uint8],
    logits: npt.NDArray[np.float32],
    info: DatasetInfo,
) -> None:
    """Write images uint8 [n, H, W, C], what the model takes for them, and PyTorch's logits for that."""
    from safetensors.numpy import save_file

    arrays = {"pixels": np.ascontiguousarray(pixels), "input": normalise(pixels, info), "logits": logits}
    save_file(arrays, folder / SAMPLES)


def _one_line(name: str) -> str:
    """A class name that cannot break out of its line."""
    return " ".join(name.split()) or "?"
