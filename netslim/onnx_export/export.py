"""Export a PyTorch model to one ONNX file that was checked to compute the same.

The file contains all weights (no external data), a named dynamic batch axis and the given metadata, and no
path of the machine that wrote it. It is written as a draft, checked, and only then renamed, so a file that
exists has passed every check.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from netslim.onnx_export.checks import check_parity, check_structure, expected_results
from netslim.onnx_export.graph import count_weights
from netslim.onnx_export.plain_weights import store_computed_weights
from netslim.onnx_export.translate import OPSET, translate
from netslim.storage.atomic import atomic_file, sha256

if TYPE_CHECKING:
    import onnx

__all__ = ["ExportReport", "export_onnx"]


@dataclass(frozen=True)
class ExportReport:
    """The written file, and how far its results are from PyTorch's.

    Args:
        params: all parameters of the PyTorch model. The file has fewer: a BatchNorm that is folded into the
            convolution before it disappears into that convolution's weight and bias.
        weights: weights of convolutions and matrix products in the file, once for each use.
        difference: the largest absolute difference of the logits, as a share of the largest logit.
        note: a sentence where PyTorch used another number of such weights; "" where it used as many.
    """

    path: str
    bytes: int
    sha256: str
    opset: int
    params: int
    weights: int
    difference: float
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    example_shape: tuple[int, int, int],
    metadata: Mapping[str, str],
) -> ExportReport:
    """Write `model` as one float32 ONNX file: `input` [batch, C, H, W] to `logits` [batch, classes].

    Args:
        model: any module on any device; it is copied, never changed, and exported in eval mode.
        path: the file to write. An existing file is replaced, and kept when the export fails.
        example_shape: (C, H, W) of one image.
        metadata: stored in the file as strings.

    Raises:
        ExportError: torch cannot export the model, or the file failed a check. No file is left behind.
    """
    frozen = copy.deepcopy(model).to("cpu", torch.float32).eval()
    store_computed_weights(frozen)
    expected = expected_results(frozen, example_shape)
    proto = translate(frozen, example_shape)
    check_structure(proto, example_shape)
    _set_metadata(proto, metadata)
    with atomic_file(path) as draft:
        draft.write_bytes(proto.SerializeToString(deterministic=True))
        difference = check_parity(expected, draft, example_shape)
        stored = count_weights(proto)
        return ExportReport(
            path=str(path),
            bytes=draft.stat().st_size,
            sha256=sha256(draft),
            opset=OPSET,
            params=sum(parameter.numel() for parameter in model.parameters()),
            weights=stored,
            difference=difference,
            note=_note(stored, expected.weights),
        )


def _note(stored: int, used: int) -> str:
    """Equal logits are the proof. The counts differ where an operator contains or computes its weights."""
    if stored == used:
        return ""
    return (
        f"model.onnx has {stored:,} weights of convolutions and matrix products, PyTorch used {used:,}: "
        "attention, recurrent and normalised layers are counted in different ways; the logits are equal"
    )


def _set_metadata(proto: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    import onnx

    for key, value in metadata.items():
        if not isinstance(value, str):
            raise TypeError(f"metadata[{key!r}] must be a string, got {type(value).__name__}")
    onnx.helper.set_model_props(proto, dict(metadata))
