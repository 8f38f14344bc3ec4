"""Check the models of a bundle: their structure, and their results on the samples.

`netslim.bundle.sandbox` runs these checks in a child process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netslim.bundle.layout import (
    INT8,
    MODEL,
    PREPROC,
    SAMPLES,
    SIGNATURE,
    listed_models,
    read_file,
    read_json,
)
from netslim.bundle.texts import require_printable
from netslim.errors import BundleError, first_line
from netslim.onnx_export.tolerance import is_close

__all__ = ["check_models", "check_samples"]

ONNX_DOMAINS = {"", "ai.onnx"}
MAX_DEPTH = 40  # of parts inside parts; a graph inside a graph is three levels deeper


def check_models(folder: Path) -> str:
    """Each model is one valid ONNX file without external data, with operators of ONNX only.

    Raises:
        BundleError: it is not.
    """
    import onnx

    details = []
    for name in listed_models(folder):
        content = read_file(folder, name)
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(content)
        except Exception as error:
            raise BundleError("is not an ONNX model", field=name) from error
        _check_self_contained(proto, name)
        try:
            onnx.checker.check_model(proto, full_check=True)
        except Exception as error:
            raise BundleError(f"the ONNX checker refuses it ({first_line(error)})", field=name) from error
        opset = next((entry.version for entry in proto.opset_import if entry.domain in ONNX_DOMAINS), None)
        details.append(f"{name} opset {opset}")
    return ", ".join(details)


def _check_self_contained(proto: Any, name: str) -> None:
    """No tensor of the model refers to another file, and no node uses an operator of another domain."""
    import onnx

    if others := {entry.domain for entry in proto.opset_import} - ONNX_DOMAINS:
        raise BundleError(f"uses operators of {sorted(others)}", field=name)
    if proto.functions:
        raise BundleError("contains functions of its own", field=name)
    if proto.training_info:
        raise BundleError("contains instructions for a training", field=name)
    for part in _parts(proto, name):
        if isinstance(part, onnx.NodeProto) and part.domain not in ONNX_DOMAINS:
            raise BundleError(f"uses {part.domain[:80]}.{part.op_type[:80]}", field=name)
        if isinstance(part, onnx.TensorProto) and (
            part.external_data or part.data_location == onnx.TensorProto.EXTERNAL
        ):
            raise BundleError(f"keeps {part.name[:80]!r} in another file", field=name)


def _parts(message: Any, name: str, depth: int = 0) -> Iterator[Any]:
    """The protobuf message and all messages inside it, wherever they are, also in a graph without nodes.

    Raises:
        BundleError: they are nested too deep, or a text contains control characters.
    """
    if depth > MAX_DEPTH:
        raise BundleError(f"has parts inside parts, more than {MAX_DEPTH} deep", field=name)
    yield message
    for field, value in message.ListFields():
        values = value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else (value,)
        if field.type == field.TYPE_MESSAGE:
            for part in values:
                yield from _parts(part, name, depth + 1)
        elif field.type == field.TYPE_STRING:
            for text in values:
                require_printable(text, f"{name}: {field.name}", lines=True)


def check_samples(folder: Path) -> str:
    """onnxruntime reproduces the logits of PyTorch on the stored samples.

    model.onnx must do so from float images, model.preproc.onnx from pixels, both within the tolerance of the
    export. model.int8.onnx must give finite logits; the share of equal classes is reported.

    Raises:
        BundleError: a result differs.
    """
    from safetensors.numpy import load

    arrays = load(read_file(folder, SAMPLES))
    count = _check_shapes(arrays, read_json(folder, SIGNATURE))
    pixels, images, logits = (arrays[name] for name in ("pixels", "input", "logits"))
    scale = float(np.abs(logits).max())
    if not np.isfinite(logits).all() or scale == 0:
        raise BundleError("its logits are not finite, or all zero", field=SAMPLES)
    largest = _compare(_run(folder, MODEL, images), logits, scale, MODEL)
    details = [f"{count} images, largest difference {largest:.1e} of the largest logit"]
    models = listed_models(folder)
    if PREPROC in models:
        powers = np.exp(logits - logits.max(1, keepdims=True))
        _compare(_run(folder, PREPROC, pixels), powers / powers.sum(1, keepdims=True), 1.0, PREPROC)
    if INT8 in models:
        quantized = _run(folder, INT8, images)
        if quantized.shape != logits.shape or not np.isfinite(quantized).all():
            raise BundleError(f"gives {quantized.shape} or values that are not finite", field=INT8)
        equal = float((quantized.argmax(1) == logits.argmax(1)).mean())
        details.append(f"int8 agrees on {equal:.0%}")
    return ", ".join(details)


def _check_shapes(arrays: dict[str, NDArray[Any]], signature: Any) -> int:
    """The samples have the shapes and types of the signature; returns their number."""
    shape, classes = signature["inputs"][0]["shape"][1:], signature["outputs"][0]["shape"][-1]
    count = len(arrays["pixels"])
    expected = {
        "pixels": ((count, *shape[1:], shape[0]), np.uint8),
        "input": ((count, *shape), np.float32),
        "logits": ((count, classes), np.float32),
    }
    for name, (wanted, dtype) in expected.items():
        if arrays[name].shape != wanted or arrays[name].dtype != dtype or not count:
            raise BundleError(f"{name} is {arrays[name].dtype} {arrays[name].shape}", field=SAMPLES)
    return count


def _run(folder: Path, name: str, images: NDArray[Any]) -> NDArray[Any]:
    """The first output of the model `name`, loaded from memory: bytes have no folder with external data."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    content = read_file(folder, name)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        result: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: images})[0]
    except Exception as error:
        raise BundleError(f"onnxruntime cannot run it ({first_line(error)})", field=name) from error
    return result


def _compare(result: NDArray[Any], expected: NDArray[Any], scale: float, name: str) -> float:
    """The largest difference as a share of `scale`; BundleError when it is beyond the tolerance."""
    if result.shape != expected.shape or result.dtype != expected.dtype:
        raise BundleError(f"gives {result.dtype} {result.shape} instead of {expected.shape}", field=name)
    difference = float(np.abs(result - expected).max())
    if not is_close(result, expected, scale=scale):
        problem = f"differs from PyTorch's result by {difference:.3g}, where the largest value is {scale:.3g}"
        raise BundleError(problem, field=name)
    return difference / scale
