"""Reads passes that version 0.1.0 wrote, in "netslim.ledger/1" files and in MLflow's row.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netslim.results.measures import wrong_value

__all__ = ["LEDGER_FORMAT", "is_0_1_pass", "upgrade_pass"]

LEDGER_FORMAT = "netslim.ledger/1"

_SIZE = ("channels", "params", "macs")
_ERRORS = {"error": "test", "error_val": "validation", "error_trained": "trained", "error_pruned": "pruned"}
_RENAMED = {"before": "size_before", "zero_share": "near_zero_share", "note": "reason", "go_on": "continue_"}
_SAME = {"index", "onnx_bytes", "measured_at", "label", "threshold", "onnx_sha256"}
_SAME |= {"layer_macs", "layers", "gammas", "curves"}
_LATENCY = ("latency_ms", "latency_p95_ms")


def is_0_1_pass(data: Mapping[str, Any]) -> bool:
    """Whether the errors are numbers beside the other values, as in 0.1.0, and not an object."""
    return "error" in data


def upgrade_pass(data: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a pass of 0.1.0 (one flat object) under the names of PassResult.

    Raises:
        DataError: a name is unknown.
        KeyError: a value is missing.
    """
    known = {*_SIZE, *_ERRORS, *_RENAMED, *_SAME, *_LATENCY}
    if unknown := sorted(data.keys() - known):
        raise wrong_value(", ".join(unknown), "unknown to this version of netslim")
    medians, slowest = (data.get(name, {}) for name in _LATENCY)
    latency = {batch: {"median_ms": ms, "p95_ms": slowest.get(batch)} for batch, ms in medians.items()}
    return {
        "size": {name: data[name] for name in _SIZE},
        "errors": {new: data[old] for old, new in _ERRORS.items() if old in data},
        "latency": latency,
        **{new: data[old] for old, new in _RENAMED.items() if old in data},
        **{name: data[name] for name in _SAME if name in data},
    }
