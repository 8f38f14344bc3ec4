"""Check that the JSON files and labels of a bundle agree with its model.

`netslim.bundle.sandbox` runs this check in a child process.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from netslim.bundle.layout import (
    CARD,
    LABELS,
    LATENCY,
    METRICS,
    MODEL,
    SIGNATURE,
    SLIMMING,
    read_checksums,
    read_file,
    read_json,
)
from netslim.bundle.texts import require_no_html, require_printable, require_printable_json
from netslim.errors import BundleError
from netslim.onnx_export.graph import count_weights

__all__ = ["check_contents"]

_NAME = re.compile(r"[A-Za-z0-9_./-]{1,100}")


def check_contents(folder: Path) -> str:
    """The JSON files and the labels agree with model.onnx: names, shapes, classes, sizes, digest of the plan.

    Texts have no control characters, and the model card has no HTML.

    Raises:
        BundleError: they do not.
    """
    import onnx

    proto = onnx.ModelProto()
    proto.ParseFromString(read_file(folder, MODEL))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    documents = {name: read_json(folder, name) for name in (SIGNATURE, SLIMMING, METRICS, LATENCY)}
    for name, document in documents.items():
        require_printable_json(document, name)
    card, labels = (read_file(folder, name).decode("utf-8") for name in (CARD, LABELS))
    require_printable(card, CARD, lines=True)
    require_no_html(card, CARD)
    require_printable(labels, LABELS, lines=True)
    signature, slimming, metrics = (documents[name] for name in (SIGNATURE, SLIMMING, METRICS))
    for side, values in (("inputs", proto.graph.input), ("outputs", proto.graph.output)):
        if [_describe(value) for value in values] != signature[side]:
            raise BundleError(f"its {side} are not those of {MODEL}", field=SIGNATURE)
        for value in signature[side]:
            _check_names(value)
    classes = signature["outputs"][0]["shape"][-1]
    if (lines := len(labels.splitlines())) != classes:
        raise BundleError(f"has {lines} lines for {classes} outputs", field=LABELS)
    _check_metrics(folder, metrics, metadata, count_weights(proto))
    _check_plan(slimming, metadata.get("plan_digest"))
    return f"{classes} labels, {metrics['model']['params']:,} parameters, plan {slimming['plan_digest'][:12]}"


def _describe(value: Any) -> dict[str, Any]:
    """An input or output of an ONNX graph as signature.json describes it."""
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": "float32" if tensor.elem_type == 1 else "?",
        "shape": [size.dim_param or size.dim_value for size in tensor.shape.dim],
    }


def _check_names(value: dict[str, Any]) -> None:
    """Names of tensors and axes are simple: other programs copy them into their own configuration files."""
    names = [value["name"], *(size for size in value["shape"] if isinstance(size, str))]
    for name in names:
        if not _NAME.fullmatch(name):
            raise BundleError(f"{name[:80]!r} is not a name of letters, digits, . - / or _", field=SIGNATURE)


def _check_metrics(folder: Path, metrics: Any, metadata: dict[str, str], weights: int) -> None:
    size = metrics["model"]
    for key in ("params", "macs", "flops"):
        if metadata.get(key) != str(size[key]):
            raise BundleError(f"has {key} {size[key]}, {MODEL} has {metadata.get(key)}", field=METRICS)
    if size["flops"] != 2 * size["macs"]:
        raise BundleError("FLOPs are not 2 x MACs", field=METRICS)
    if weights != metrics["onnx_weights"]:
        problem = f"has {metrics['onnx_weights']:,} weights, {MODEL} has {weights:,}"
        raise BundleError(problem, field=METRICS)
    if metrics["onnx_sha256"] != read_checksums(folder)[MODEL]:
        raise BundleError(f"was measured on another {MODEL}", field=METRICS)
    stored = (folder / MODEL).stat().st_size
    if metrics["onnx_bytes"] != stored:
        raise BundleError(f"has {metrics['onnx_bytes']} bytes for {MODEL}, which has {stored}", field=METRICS)


def _check_plan(slimming: Any, digest: str | None) -> None:
    from netslim.pruning.plan import Plan

    plan = Plan.from_json(slimming["plan"])
    if not plan.digest == slimming["plan_digest"] == digest:
        raise BundleError("its digest is not that of its plan, or not that of the model", field=SLIMMING)
    kept = {path: len(channels) for path, channels in plan.kept.items()}
    if kept != {path: row["kept"] for path, row in slimming["channels"].items()}:
        raise BundleError("its channels are not those of its plan", field=SLIMMING)
