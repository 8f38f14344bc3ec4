"""Pass results for tests, from values in one flat list of names."""

from __future__ import annotations

import dataclasses
from typing import Any

from netslim.results.measures import Errors, Latency, Size
from netslim.results.pass_result import PassResult

SIZE = ("channels", "params", "macs")
ERRORS = ("test", "validation", "trained", "pruned")


def pass_result(index: int, *, latency_ms: dict[int, float] | None = None, **values: Any) -> PassResult:
    """The result of pass `index`.

    Args:
        latency_ms: median by batch size.
        values: fields of Size, Errors (`test`, `validation`, ...) and PassResult.
    """
    plain: dict[str, Any] = {
        "index": index,
        "onnx_bytes": 1,
        "measured_at": 1,
        "latency": {batch: Latency(median_ms=ms) for batch, ms in (latency_ms or {}).items()},
        "size": Size(**{name: values.pop(name, 1) for name in SIZE}),
        "errors": Errors(test=values.pop("test", 1.0), **_taken(values, ERRORS)),
    }
    return PassResult(**plain | values)


def changed(result: PassResult, **values: Any) -> PassResult:
    """A copy of `result` with other values, by the same names as in `pass_result`."""
    size = dataclasses.replace(result.size, **_taken(values, SIZE))
    errors = dataclasses.replace(result.errors, **_taken(values, ERRORS))
    return dataclasses.replace(result, size=size, errors=errors, **values)


def _taken(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values.pop(name) for name in names if name in values}
