"""The model in int8, and whether it is good enough to be shipped."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netslim.bundle.layout import INT8, MODEL
from netslim.data import Split
from netslim.onnx_export import runtime

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, PackedDataset

__all__ = ["LIMIT", "Quantised", "quantise"]

LIMIT = 0.5  # percentage points of error that int8 may cost
CALIBRATION, CHECKED = 256, 2000  # images


@dataclass(frozen=True)
class Quantised:
    """What became of the int8 model: shipped or not, and why, in a sentence for the model card.

    Args:
        error, error_float: in percent, of the int8 and of the float model, on the same images.
        measured_on: what images these were; never test images.
        bytes: size of the file; 0 when it is not shipped.
    """

    shipped: bool
    reason: str
    error: float | None = None
    error_float: float | None = None
    measured_on: str = ""
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def quantise(folder: Path, dataset: PackedDataset, *, limit: float = LIMIT) -> Quantised:
    """Write model.int8.onnx beside `folder`/model.onnx, unless its error is more than `limit` points higher.

    Static QDQ, signed and per channel, calibrated on training images. It is judged on validation images, or,
    where none were held out, on training images that it was not calibrated on; never on test images.
    """
    info = dataset.info
    calibration, judged, told = _images(dataset)
    if not len(judged):
        return Quantised(
            False, "not shipped: too few training images to calibrate on some and judge by others"
        )
    try:
        with tempfile.TemporaryDirectory() as parent:
            draft = Path(parent, INT8)
            _write(folder / MODEL, draft, Path(parent), calibration, info)
            error = runtime.error(draft, judged, info)
            error_float = runtime.error(folder / MODEL, judged, info)
            rise = error - error_float
            shipped = rise <= limit + 1e-9
            size = draft.stat().st_size
            if shipped:
                (folder / INT8).write_bytes(draft.read_bytes())
    except Exception as failure:  # a network that cannot be quantised is no reason to have no bundle
        lines = str(failure).strip().splitlines() or [""]
        return Quantised(
            False, f"not shipped: it could not be made ({type(failure).__name__}: {lines[0][:200]})"
        )
    numbers = f"{error:.2f} % error on {told}, {rise:+.2f} points against float32"
    if not shipped:
        return Quantised(False, f"not shipped: {numbers}; {limit:g} are allowed", error, error_float, told)
    return Quantised(True, f"shipped: {numbers}", error, error_float, told, size)


def _images(dataset: PackedDataset) -> tuple[Split, Split, str]:
    """Images to calibrate on, images to judge by, and what the latter are."""
    train = dataset.split("train")
    order = np.random.default_rng(0).permutation(len(train))
    # At most half of the images calibrate, so that there is something left to judge by.
    count = min(CALIBRATION, len(train) // 2)
    calibration = train.take(order[:count])
    if "val" in dataset.info.sizes:
        judged = dataset.split("val")
        judged = judged.take(np.random.default_rng(0).permutation(len(judged))[:CHECKED])
        return calibration, judged, f"{len(judged)} validation images"
    judged = train.take(order[count : count + CHECKED])
    return calibration, judged, f"{len(judged)} training images that it was not calibrated on"


def _write(model: Path, draft: Path, scratch: Path, calibration: Split, info: DatasetInfo) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = _batches(calibration, info)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    with _quiet():
        prepared = scratch / "prepared.onnx"
        # Its symbolic shape inference would need sympy; ONNX's own has all that these graphs need.
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
    _finish(model, draft)


def _finish(model: Path, draft: Path) -> None:
    """Give the file the float model's metadata, and nothing of the machine that made it."""
    import onnx

    proto = onnx.load(draft, load_external_data=False)
    assert not {node.domain for node in proto.graph.node} - {"", "ai.onnx"}
    own = [entry for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    del proto.opset_import[:]  # onnxruntime lists all domains that it knows
    proto.opset_import.extend(own)
    whole = onnx.load(model, load_external_data=False)
    del proto.metadata_props[:]
    proto.metadata_props.extend(whole.metadata_props)
    proto.graph.doc_string = ""
    draft.write_bytes(proto.SerializeToString(deterministic=True))


def _batches(split: Split, info: DatasetInfo) -> Iterator[dict[str, Any]]:
    # Few large images at once: to see every layer's range, onnxruntime keeps all that they make.
    size = info.batch_of(2**15, least=1, most=32)
    for start in range(0, len(split), size):
        yield {"input": runtime.normalise(split.images[start : start + size], info)}


@contextmanager
def _quiet() -> Iterator[None]:
    """It logs advice on the root logger, for people who call it by hand."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
