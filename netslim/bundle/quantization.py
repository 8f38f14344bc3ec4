"""Quantize a model to int8, and keep the result only where its error is close to the float32 model's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netslim.bundle.layout import INT8, MODEL
from netslim.data import Split
from netslim.data.normalisation import normalise
from netslim.errors import first_line
from netslim.onnx_export import runtime
from netslim.onnx_export.quiet import quiet

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, PackedDataset

__all__ = ["MAX_ERROR_INCREASE", "QuantizationResult", "calibration_batches", "quantize"]

MAX_ERROR_INCREASE = 0.5  # percentage points of error
CALIBRATION_IMAGES, EVALUATION_IMAGES = 256, 2000


@dataclass(frozen=True)
class QuantizationResult:
    """Whether the bundle contains an int8 model, and why.

    Args:
        shipped: whether model.int8.onnx was written.
        reason: one sentence for the model card.
        error, error_float: in percent, of the int8 and of the float32 model, on the same images.
        measured_on: a description of these images, which are never test images.
        bytes: the size of the file; 0 when it is not shipped.
    """

    shipped: bool
    reason: str
    error: float | None = None
    error_float: float | None = None
    measured_on: str = ""
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def quantize(
    folder: Path, dataset: PackedDataset, *, max_error_increase: float = MAX_ERROR_INCREASE
) -> QuantizationResult:
    """Write model.int8.onnx beside `folder`/model.onnx, unless its error is too much higher.

    The quantization is static QDQ, signed, per channel, and calibrated on training images. The error is
    measured on validation images or, when there are none, on training images that calibration did not use.

    Args:
        max_error_increase: the allowed increase of the error over float32, in percentage points.

    Returns:
        The result. A network that cannot be quantized gives a result that is not shipped, not an exception:
        the bundle is complete without an int8 model.
    """
    calibration, evaluation, description = _choose_images(dataset)
    if not len(evaluation):
        return QuantizationResult(False, "not shipped: too few training images to calibrate and to evaluate")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            draft = Path(scratch, INT8)
            _write_int8(folder / MODEL, draft, calibration, dataset.info)
            error = runtime.error(draft, evaluation, dataset.info)
            error_float = runtime.error(folder / MODEL, evaluation, dataset.info)
            content = draft.read_bytes()
    except Exception as failure:  # onnxruntime.quantization documents no exceptions of its own
        reason = f"{type(failure).__name__}: {first_line(failure)}"
        return QuantizationResult(False, f"not shipped: quantization failed ({reason})")
    increase = error - error_float
    shipped = increase <= max_error_increase + 1e-9
    reason = f"{error:.2f} % error on {description}, {increase:+.2f} points against float32"
    if shipped:
        (folder / INT8).write_bytes(content)
        reason = f"shipped: {reason}"
    else:
        reason = f"not shipped: {reason}; {max_error_increase:g} are allowed"
    return QuantizationResult(
        shipped=shipped,
        reason=reason,
        error=error,
        error_float=error_float,
        measured_on=description,
        bytes=len(content) if shipped else 0,
    )


def _choose_images(dataset: PackedDataset) -> tuple[Split, Split, str]:
    """Images for calibration, images for evaluation, and a description of the second."""
    train = dataset.split("train")
    order = np.random.default_rng(0).permutation(len(train))
    count = min(CALIBRATION_IMAGES, len(train) // 2)  # leaves at least as many images for evaluation
    calibration = train.take(order[:count])
    if "val" in dataset.info.sizes:
        val = dataset.split("val")
        val = val.take(np.random.default_rng(0).permutation(len(val))[:EVALUATION_IMAGES])
        return calibration, val, f"{len(val)} validation images"
    rest = train.take(order[count : count + EVALUATION_IMAGES])
    return calibration, rest, f"{len(rest)} training images that calibration did not use"


def calibration_batches(split: Split, info: DatasetInfo) -> Iterator[dict[str, Any]]:
    """The split as inputs of model.onnx, in small batches.

    To find the range of every layer, onnxruntime keeps all activations of a batch in memory.
    """
    size = info.batch_of(2**15, least=1, most=32)
    for start in range(0, len(split), size):
        yield {"input": normalise(split.images[start : start + size], info)}


def _write_int8(model: Path, draft: Path, calibration: Split, info: DatasetInfo) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = calibration_batches(calibration, info)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    with quiet():  # onnxruntime logs advice for interactive users
        prepared = draft.with_name("prepared.onnx")
        # Symbolic shape inference needs sympy; ONNX's own shape inference is enough for these graphs.
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(draft),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    _clean(model, draft)


def _clean(model: Path, draft: Path) -> None:
    """Copy the float32 model's metadata to the int8 file, and remove what onnxruntime added of its own."""
    import onnx

    proto = onnx.load(draft, load_external_data=False)
    assert not {node.domain for node in proto.graph.node} - {"", "ai.onnx"}
    used = [entry for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    del proto.opset_import[:]  # onnxruntime lists every domain that it implements
    proto.opset_import.extend(used)
    del proto.metadata_props[:]
    proto.metadata_props.extend(onnx.load(model, load_external_data=False).metadata_props)
    proto.graph.doc_string = ""
    draft.write_bytes(proto.SerializeToString(deterministic=True))
