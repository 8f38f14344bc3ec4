"""A pruning as data: which channels of which layer stay. JSON, composable over passes, applied untraced.

{"format": "netslim plan 1",
 "layers": {"conv1": {"out": {"of": 64, "keep": "0-3 7 9-12"}},
            "bn1":   {"out": {"of": 64, "keep": "0-3 7 9-12"}, "norm": true},
            "conv2": {"out": {...}, "in": {"of": 64, "keep": "0-3 7 9-12"}, "bias": true},
            "bn2":   {"out": {...}, "norm": true, "reads": "0 2-5"}}}
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

FORMAT = "netslim plan 1"
WIDEST = 1 << 24
"""More channels than any layer has: what is read may be foreign, and must not fill the memory."""


@dataclass(frozen=True, eq=False)
class ChannelIndex:
    """Some channels of `of`: `index` has them, ascending, for channels never change places."""

    of: int
    index: Ints

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """`index` as plain numbers."""
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
        """What stays when `other` follows."""
        return ChannelIndex(self.of, self.index[other.index])


@dataclass(frozen=True)
class OutputPlacement:
    """Where a layer's channels lie in a stream of `width`; `fill` if the others hold constants, not 0."""

    width: int
    channels: tuple[int, ...]
    fill: bool = False


@dataclass(frozen=True)
class LayerEdit:
    """What happens to one layer.

    Args:
        out: the output channels that stay (axis 0 of a parameter that belongs to no standard layer).
        into: the input channels that stay (its axis 1).
        bias: the layer has a bias afterwards, whether or not it had one.
        norm: it is a BatchNorm, and `out` counts scaling factors.
        reads: the channels of the tensor before it that it reads, as that tensor is afterwards; None for all.
        places: where its output lies in the tensor behind it, as that is afterwards; None for everywhere.
    """

    out: ChannelIndex | None = None
    into: ChannelIndex | None = None
    bias: bool = False
    norm: bool = False
    reads: tuple[int, ...] | None = None
    places: OutputPlacement | None = None

    def then(self, other: LayerEdit) -> LayerEdit:
        """Both, one after the other."""
        return replace(
            other,
            out=_then(self.out, other.out),
            into=_then(self.into, other.into),
            bias=self.bias or other.bias,
            norm=self.norm or other.norm,
        )


@dataclass(frozen=True)
class Plan:
    """What happens to each layer, by the path of its module (or of a parameter that stands alone)."""

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
        """SHA-256 of the plan, the same for equal plans."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def then(self, other: Plan) -> Plan:
        """The plan that does in one step what this plan and then `other` do.

        Raises:
            ModelError: `other` is for a network of other widths than this one makes.
        """
        layers = dict(self.layers)
        for path, edit in other.layers.items():
            before = self.layers.get(path)
            if before is not None:
                _must_follow(path, before.out, edit.out)
                _must_follow(path, before.into, edit.into)
                edit = before.then(edit)
            layers[path] = edit
        return Plan(layers)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data; `Plan.from_json` reads it back."""
        return {"format": FORMAT, "layers": {path: _edit_to_json(edit) for path, edit in self.layers.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            ModelError: it is something else.
        """
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"its format is {data['format']!r}")
            return cls({path: _edit_from_json(path, edit) for path, edit in data["layers"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
            remedy = f"Make it again with this version of netslim, which writes {FORMAT!r}"
            raise ModelError(told, field="plan", remedy=remedy) from error


def _then(first: ChannelIndex | None, second: ChannelIndex | None) -> ChannelIndex | None:
    return first.then(second) if first and second else first or second


def _must_follow(path: str, first: ChannelIndex | None, second: ChannelIndex | None) -> None:
    if first and second and first.index.size != second.of:
        problem = f"the second plan is for {second.of} channels, the first leaves {first.index.size}"
        raise ModelError(problem, field=path, remedy="Compose plans in the order they were made")


def _edit_to_json(edit: LayerEdit) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, keep in (("out", edit.out), ("in", edit.into)):
        if keep is not None:
            data[name] = {"of": keep.of, "keep": _ranges(keep.kept)}
    data |= {name: True for name in ("bias", "norm") if getattr(edit, name)}
    if edit.reads is not None:
        data["reads"] = _ranges(edit.reads)
    if edit.places is not None:
        places = edit.places
        data["places"] = {"width": places.width, "channels": _ranges(places.channels), "fill": places.fill}
    return data


def _edit_from_json(path: str, data: Mapping[str, Any]) -> LayerEdit:
    def keep(name: str) -> ChannelIndex | None:
        if name not in data:
            return None
        of, kept = _count(path, data[name]["of"]), data[name]["keep"]
        found = _indices(path, kept, below=of)
        if not found or any(after <= before for before, after in pairwise(found)):
            raise ValueError(f"{path}: keeps {kept!r}, which is none, or not each once in ascending order")
        return ChannelIndex(of, np.array(found, dtype=np.int64))

    def flag(name: str, place: Mapping[str, Any] = data) -> bool:
        value = place.get(name, False)
        if not isinstance(value, bool):
            raise ValueError(f"{path}: {name} is {value!r}, neither true nor false")
        return value

    if unknown := set(data) - {"out", "in", "bias", "norm", "reads", "places"}:
        raise ValueError(f"{path}: nothing is known of {', '.join(sorted(unknown))}")
    places = data.get("places")
    if places is not None:
        width = _count(path, places["width"])
        places = OutputPlacement(width, _indices(path, places["channels"], below=width), flag("fill", places))
    reads = _indices(path, data["reads"], below=WIDEST) if "reads" in data else None
    return LayerEdit(keep("out"), keep("in"), flag("bias"), flag("norm"), reads, places)


def _count(path: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= WIDEST:
        raise ValueError(f"{path}: {value!r} is no number of channels")
    return value


def _ranges(indices: Iterable[int]) -> str:
    """Indices as text, runs shortened: 0 1 2 3 7 is "0-3 7"."""
    listed = list(indices)
    starts = [0, *(at for at, (a, b) in enumerate(pairwise(listed), start=1) if b != a + 1)]
    runs = [listed[a:b] for a, b in pairwise([*starts, len(listed)])]
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if run)


def _indices(path: str, text: Any, *, below: int) -> tuple[int, ...]:
    """The indices that `_ranges` wrote, each below the limit, in the order that they have."""
    if not isinstance(text, str) or re.fullmatch(r"(\d+(-\d+)?( \d+(-\d+)?)*)?", text, re.ASCII) is None:
        raise ValueError(f"{path}: {text!r} is no list of channels")
    found: list[int] = []
    for run in text.split():
        first, _, last = run.partition("-")
        begin, end = int(first), int(last or first)
        if not begin <= end < below:
            raise ValueError(f"{path}: {run} is not within 0 to {below - 1}")
        found.extend(range(begin, end + 1))
    return tuple(found)
