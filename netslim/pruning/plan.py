"""A pruning plan as data: which channels of which layer are kept. Plans of several passes can be composed.

{"format": "netslim.plan/1",
 "layers": {"conv1": {"out": {"of": 64, "keep": "0-3 7 9-12"}},
            "bn1":   {"out": {"of": 64, "keep": "0-3 7 9-12"}, "norm": true},
            "conv2": {"out": {...}, "in": {"of": 64, "keep": "0-3 7 9-12"}, "bias": true},
            "bn2":   {"out": {...}, "norm": true, "reads": "0 2-5"},
            "mix":   {"sizes": {"splits": [8, 7]}}}}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from netslim.errors import ModelError

__all__ = ["ChannelIndex", "LayerEdit", "OutputPlacement", "Plan"]

Ints = npt.NDArray[np.int64]

FORMAT = "netslim.plan/1"
_FORMATS = (FORMAT, "netslim plan 1")  # the second was written by version 0.1.0
_MOST_CHANNELS = 1 << 24
"""Upper bound on indices when a plan is read, so that a malformed file cannot exhaust the memory."""


@dataclass(frozen=True, eq=False)
class ChannelIndex:
    """Some channels out of `of`: `index` is int64[k], ascending, because channels keep their order."""

    of: int
    index: Ints

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """`index` as Python numbers."""
        return tuple(self.index.tolist())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ChannelIndex)
            and self.of == other.of
            and np.array_equal(self.index, other.index)
        )

    def __hash__(self) -> int:
        return hash((self.of, self.kept))

    def then(self, other: ChannelIndex) -> ChannelIndex:
        """The channels that are kept when `other`, an index into these, follows."""
        return ChannelIndex(self.of, self.index[other.index])


@dataclass(frozen=True)
class OutputPlacement:
    """Where the channels of a layer lie in a wider tensor.

    Args:
        width: the channels of that tensor.
        channels: for each channel of the layer, its channel in the tensor.
        constants: the other channels hold constants (a buffer of the network), not 0.
    """

    width: int
    channels: tuple[int, ...]
    constants: bool = False


@dataclass(frozen=True)
class LayerEdit:
    """The changes of one layer.

    Args:
        out: the output channels that are kept (axis 0 of a parameter that belongs to no standard layer).
        in_: the input channels that are kept (its axis 1).
        bias: the layer has a bias afterwards, even if it had none.
        norm: it is a BatchNorm, and `out` counts scaling factors.
        reads: the channels of the pruned input tensor that it reads; None for all.
        places: where its output lies in the pruned output tensor; None if it is the whole tensor.
        sizes: attributes of a module of the model's own that state numbers of channels: name and new numbers.
    """

    out: ChannelIndex | None = None
    in_: ChannelIndex | None = None
    bias: bool = False
    norm: bool = False
    reads: tuple[int, ...] | None = None
    places: OutputPlacement | None = None
    sizes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def then(self, other: LayerEdit) -> LayerEdit:
        """The changes of this edit and then of `other`, in one edit."""
        return replace(
            other,
            out=_then(self.out, other.out),
            in_=_then(self.in_, other.in_),
            bias=self.bias or other.bias,
            norm=self.norm or other.norm,
            sizes=tuple((dict(self.sizes) | dict(other.sizes)).items()),
        )


@dataclass(frozen=True)
class Plan:
    """The changes of each layer, by the path of its module (or of a parameter that belongs to no layer)."""

    layers: Mapping[str, LayerEdit] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Plan:
        """The plan that changes nothing."""
        return cls()

    @property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """The kept channels of each BatchNorm that loses some, as indices into the network before."""
        return {path: edit.out.kept for path, edit in self.layers.items() if edit.norm and edit.out}

    @property
    def digest(self) -> str:
        """SHA-256 of the plan as JSON, the same for equal plans."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def then(self, other: Plan) -> Plan:
        """One plan with the effect of this plan and then `other`.

        Raises:
            ModelError: `other` is for a network of other widths than this plan leads to.
        """
        layers = dict(self.layers)
        for path, edit in other.layers.items():
            before = self.layers.get(path)
            if before is not None:
                _must_follow(path, before.out, edit.out)
                _must_follow(path, before.in_, edit.in_)
                edit = before.then(edit)
            layers[path] = edit
        return Plan(layers)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data; `Plan.from_json` reads it back."""
        return {"format": FORMAT, "layers": {path: _edit_to_json(edit) for path, edit in self.layers.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote, here or in version 0.1.0.

        Raises:
            ModelError: `data` is not a valid plan.
        """
        try:
            if data["format"] not in _FORMATS:
                raise ValueError(f"its format is {data['format']!r}")
            return cls({path: _edit_from_json(path, edit) for path, edit in data["layers"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
            remedy = f"Make it again with this version of netslim, which writes {FORMAT!r}"
            raise ModelError(problem, field="plan", remedy=remedy) from error


def _then(first: ChannelIndex | None, second: ChannelIndex | None) -> ChannelIndex | None:
    return first.then(second) if first and second else first or second


def _must_follow(path: str, first: ChannelIndex | None, second: ChannelIndex | None) -> None:
    if first and second and first.index.size != second.of:
        problem = f"the second plan is for {second.of} channels, the first leaves {first.index.size}"
        raise ModelError(problem, field=path, remedy="Compose plans in the order they were made")


def _edit_to_json(edit: LayerEdit) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, keep in (("out", edit.out), ("in", edit.in_)):
        if keep is not None:
            data[name] = {"of": keep.of, "keep": _ranges(keep.kept)}
    data |= {name: True for name in ("bias", "norm") if getattr(edit, name)}
    if edit.reads is not None:
        data["reads"] = _ranges(edit.reads)
    if edit.places is not None:
        width, channels = edit.places.width, _ranges(edit.places.channels)
        data["places"] = {"width": width, "channels": channels, "fill": edit.places.constants}
    if edit.sizes:
        data["sizes"] = {name: list(numbers) for name, numbers in edit.sizes}
    return data


def _edit_from_json(path: str, data: Mapping[str, Any]) -> LayerEdit:
    def keep(name: str) -> ChannelIndex | None:
        if name not in data:
            return None
        of, kept = _count(path, data[name]["of"]), data[name]["keep"]
        index = _indices(path, kept, below=of)
        if not index:
            raise ValueError(f"{path}: keeps no channel")
        if any(after <= before for before, after in pairwise(index)):
            raise ValueError(f"{path}: {kept!r} does not name each channel once, in ascending order")
        return ChannelIndex(of, np.array(index, dtype=np.int64))

    def flag(name: str, place: Mapping[str, Any] = data) -> bool:
        value = place.get(name, False)
        if not isinstance(value, bool):
            raise ValueError(f"{path}: {name} is {value!r}, not true or false")
        return value

    if unknown := set(data) - {"out", "in", "bias", "norm", "reads", "places", "sizes"}:
        raise ValueError(f"{path}: unknown: {', '.join(sorted(unknown))}")
    places = data.get("places")
    if places is not None:
        width = _count(path, places["width"])
        places = OutputPlacement(width, _indices(path, places["channels"], below=width), flag("fill", places))
    reads = _indices(path, data["reads"], below=_MOST_CHANNELS) if "reads" in data else None
    sizes = tuple(
        (str(name), tuple(_size(path, number) for number in numbers))
        for name, numbers in data.get("sizes", {}).items()
    )
    return LayerEdit(keep("out"), keep("in"), flag("bias"), flag("norm"), reads, places, sizes)


def _count(path: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MOST_CHANNELS:
        raise ValueError(f"{path}: {value!r} is not a number of channels")
    return value


def _size(path: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MOST_CHANNELS:
        raise ValueError(f"{path}: {value!r} is not a size")
    return value


def _ranges(indices: Iterable[int]) -> str:
    """Indices as text, with runs abbreviated: 0 1 2 3 7 is "0-3 7"."""
    listed = list(indices)
    starts = [0, *(at for at, (a, b) in enumerate(pairwise(listed), start=1) if b != a + 1)]
    runs = [listed[a:b] for a, b in pairwise([*starts, len(listed)])]
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if run)


def _indices(path: str, text: Any, *, below: int) -> tuple[int, ...]:
    """The indices that `_ranges` wrote, in their order, each below the limit."""
    if not isinstance(text, str) or re.fullmatch(r"(\d+(-\d+)?( \d+(-\d+)?)*)?", text, re.ASCII) is None:
        raise ValueError(f"{path}: {text!r} is not a list of channels")
    indices: list[int] = []
    for run in text.split():
        first, _, last = run.partition("-")
        begin, end = int(first), int(last or first)
        if not begin <= end < below:
            raise ValueError(f"{path}: {run} is not within 0 to {below - 1}")
        indices.extend(range(begin, end + 1))
    return tuple(indices)
