"""What `verify` asks about foreign models, in a process of its own: `python -m
netslim.bundle.sandbox QUESTION FOLDER`.

It answers with one line of JSON: {"good": true, "told": "..."}. A process that dies is an answer too.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from netslim.bundle.layout import (
    INT8,
    LABELS,
    METRICS,
    MODEL,
    PREPROC,
    SAMPLES,
    SIGNATURE,
    SLIMMING,
    listed,
    read_small,
)
from netslim.bundle.verify import models_of
from netslim.errors import BundleError
from netslim.onnx_export.graph import weights_of

__all__: list[str] = []

MEMORY, PROCESSOR = 12 << 30, 240  # bytes of address space, seconds
DOMAINS = {"", "ai.onnx"}
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # as in netslim.export


def graphs(place: Path) -> str:
    """Each model is one valid ONNX file: nothing outside it, no operators but ONNX's own, shapes as told."""
    import onnx

    told = []
    for name in models_of(place):
        try:
            proto = onnx.ModelProto()
            proto.ParseFromString(read_small(place, name))
        except BundleError:
            raise
        except Exception as error:
            raise BundleError("is no ONNX model", field=name) from error
        _nothing_outside(proto, name)
        try:
            onnx.checker.check_model(proto, full_check=True)
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BundleError(f"the ONNX checker refuses it ({line[:200]})", field=name) from error
        opset = next((entry.version for entry in proto.opset_import if entry.domain in DOMAINS), None)
        told.append(f"{name} opset {opset}")
    return ", ".join(told)


def _nothing_outside(proto: Any, name: str) -> None:
    """No tensor of the model, however deep, lies in another file; no node is of a foreign domain."""
    import onnx

    if foreign := {entry.domain for entry in proto.opset_import} - DOMAINS:
        raise BundleError(f"uses operators of {sorted(foreign)}", field=name)
    if proto.functions:
        raise BundleError("brings functions of its own", field=name)

    def walk(graph: Any, depth: int = 0) -> None:
        if depth > 8:
            raise BundleError("graphs within graphs, too deep", field=name)
        tensors = [*graph.initializer]
        for sparse in graph.sparse_initializer:
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            if node.domain not in DOMAINS:
                raise BundleError(f"uses {node.domain}.{node.op_type}", field=name)
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    tensors += [sparse.values, sparse.indices]
                for inner in (attribute.g, *attribute.graphs):
                    if inner.node:
                        walk(inner, depth + 1)
        for tensor in tensors:
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise BundleError(f"keeps {tensor.name[:80]!r} in another file", field=name)

    walk(proto.graph)


def contents(place: Path) -> str:
    """The texts say what the model is: names, shapes, classes, sizes, the plan's digest."""
    import onnx

    proto = onnx.ModelProto()
    proto.ParseFromString(read_small(place, MODEL))
    told = {entry.key: entry.value for entry in proto.metadata_props}
    signature, slimming, metrics = (_json(place, name) for name in (SIGNATURE, SLIMMING, METRICS))
    for side, values in (("inputs", proto.graph.input), ("outputs", proto.graph.output)):
        found = [
            {
                "name": value.name,
                "dtype": "float32" if value.type.tensor_type.elem_type == 1 else "?",
                "shape": [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
            }
            for value in values
        ]
        if found != signature[side]:
            raise BundleError(f"its {side} are not those of {MODEL}", field=SIGNATURE)
    labels = read_small(place, LABELS).decode("utf-8").splitlines()
    classes = signature["outputs"][0]["shape"][-1]
    if len(labels) != classes:
        raise BundleError(f"has {len(labels)} lines for {classes} outputs", field=LABELS)
    size = metrics["model"]
    for key in ("params", "macs", "flops"):
        if told.get(key) != str(size[key]):
            raise BundleError(f"says {key} {size[key]}, {MODEL} says {told.get(key)}", field=METRICS)
    if size["flops"] != 2 * size["macs"]:
        raise BundleError("FLOPs are not 2 x MACs", field=METRICS)
    if (stored := weights_of(proto)) != metrics["onnx_weights"]:
        raise BundleError(f"says {metrics['onnx_weights']:,} weights, {MODEL} has {stored:,}", field=METRICS)
    _plan(slimming, told.get("plan_digest"))
    if metrics["onnx_sha256"] != listed(place)[MODEL]:
        raise BundleError(f"was measured on another {MODEL}", field=METRICS)
    if metrics["onnx_bytes"] != (place / MODEL).stat().st_size:
        raise BundleError(f"says that {MODEL} has {metrics['onnx_bytes']} bytes", field=METRICS)
    return f"{classes} labels, {size['params']:,} parameters, plan {slimming['plan_digest'][:12]}"


def _plan(slimming: Any, digest: str | None) -> None:
    from netslim.pruning.plan import Plan

    plan = Plan.from_json(slimming["plan"])
    if not plan.digest == slimming["plan_digest"] == digest:
        raise BundleError("its digest is not that of its plan, or not the model's", field=SLIMMING)
    if {path: len(kept) for path, kept in plan.kept.items()} != {
        path: row["kept"] for path, row in slimming["channels"].items()
    }:
        raise BundleError("its channels are not those of its plan", field=SLIMMING)


def samples(place: Path) -> str:
    """onnxruntime gives the logits that PyTorch gave, from float images and from pixels."""
    from safetensors.numpy import load

    arrays = load(read_small(place, SAMPLES))
    pixels, images, logits = (arrays[name] for name in ("pixels", "input", "logits"))
    signature = _json(place, SIGNATURE)
    shape, classes = signature["inputs"][0]["shape"][1:], signature["outputs"][0]["shape"][-1]
    count = len(pixels)
    wanted = {
        "pixels": ((count, *shape[1:], shape[0]), np.uint8),
        "input": ((count, *shape), np.float32),
        "logits": ((count, classes), np.float32),
    }
    for name, (expected, dtype) in wanted.items():
        if arrays[name].shape != expected or arrays[name].dtype != dtype or not count:
            raise BundleError(f"{name} is {arrays[name].dtype} {arrays[name].shape}", field=SAMPLES)
    scale = float(np.abs(logits).max())
    if not np.isfinite(logits).all() or scale == 0:
        raise BundleError("its logits are not finite, or all zero", field=SAMPLES)
    worst = _compare(_run(place, MODEL, images), logits, scale, MODEL)
    told = [f"{count} images, largest difference {worst:.1e} of the largest logit"]
    names = models_of(place)
    if PREPROC in names:
        powers = np.exp(logits - logits.max(1, keepdims=True))
        _compare(_run(place, PREPROC, pixels), powers / powers.sum(1, keepdims=True), 1.0, PREPROC)
    if INT8 in names:
        found = _run(place, INT8, images)
        if found.shape != logits.shape or not np.isfinite(found).all():
            raise BundleError(f"gives {found.shape} or numbers that are not finite", field=INT8)
        same = float((found.argmax(1) == logits.argmax(1)).mean())
        told.append(f"int8 agrees on {same:.0%}")
    return ", ".join(told)


def _run(place: Path, name: str, images: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        content = read_small(place, name)  # bytes have no folder that external data could be in
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: images})[0]
    except BundleError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(f"onnxruntime cannot run it ({line[:200]})", field=name) from error


def _compare(found: Any, wanted: Any, scale: float, name: str) -> float:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise BundleError(f"gives {found.dtype} {found.shape} instead of {wanted.shape}", field=name)
    difference = np.abs(found - wanted)
    if not np.isfinite(found).all() or (difference > ABSOLUTE * scale + RELATIVE * np.abs(wanted)).any():
        told = f"differs from what PyTorch gave by {difference.max():.3g}, where the largest is {scale:.3g}"
        raise BundleError(told, field=name)
    return float(difference.max() / scale)


def _json(place: Path, name: str) -> Any:
    def refused(told: str) -> float:
        raise ValueError(f"{told} is no number of JSON")

    value = json.loads(read_small(place, name).decode("utf-8"), parse_constant=refused)
    if not isinstance(value, dict):
        raise BundleError("is no JSON object", field=name)
    return value


QUESTIONS = {"graphs": graphs, "contents": contents, "samples": samples}


def main() -> None:
    question, folder = sys.argv[1:]
    for limit, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, PROCESSOR),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower limit of the system's own stands
            resource.setrlimit(limit, (most, most))
    try:
        good, told = True, QUESTIONS[question](Path(folder))
    except BundleError as error:
        good, told = False, str(error)
    except BaseException as error:  # whatever else a parser makes of a hostile file
        good, told = (
            False,
            f"{question}: not as a bundle has them ({type(error).__name__}: {str(error)[:200]})",
        )
    print(json.dumps({"good": good, "told": told}), flush=True)


if __name__ == "__main__":
    main()
