"""The options of one pruning: name, default, allowed values and help text of each, in one table.

Everything that accepts these options is made from `PruningOptions` or held equal to it by a test: the
function `netslim.prune`, the command line, the inputs of the pipelines and of the component. This module
loads neither torch nor numpy.

    PruningOptions(percent=0.7, min_channels=2)   every value is checked; ConfigError names the wrong one
    PruningOptions(percent="0.7", target={})      text, whole floats and an empty target, as KFP passes them
    options.ratio                                 Fraction(7, 10), or "dead": `percent`, parsed once
    options.budget                                Target or None: `target`, parsed once
    options.shares                                (("layer4.*", Fraction(3, 10)),): `layers`, parsed once
    options.to_inputs()                           the values as inputs of a pipeline (plain JSON types)
    option_table()["percent"]                     OptionInfo(default, allowed, help, choices)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypedDict, get_args

from netslim.errors import ConfigError
from netslim.pruning.budget import Target
from netslim.pruning.shares import (
    LAYERS,
    PATTERNS,
    PERCENT,
    Ratio,
    exact,
    parse_patterns,
    parse_ratio,
    parse_shares,
)

__all__ = ["OptionInfo", "Percent", "Policy", "PruningKeywords", "PruningOptions", "Scope", "option_table"]

Percent = float | Fraction | str
"""A share from 0 up to, but not including, 1, as a number or as text; or the word "dead"."""
Scope = Literal["global", "layer"]
Policy = Literal["auto", "group", "select"]


class OptionInfo(NamedTuple):
    """One row of the table of options."""

    default: Any
    allowed: str
    """The allowed values, in words."""
    help: str
    choices: tuple[str, ...] = ()
    """The allowed words, where the option is one of a few."""


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """How many channels are pruned, which, and within which limits.

    Raises:
        ConfigError: a value is not allowed.
    """

    percent: Percent = field(
        default=0.5,
        metadata={
            "allowed": PERCENT,
            "help": "Share of all channels to prune in a pass, or `dead` for just those at zero.",
        },
    )
    target: str | Mapping[str, float] | None = field(
        default=None,
        compare=False,
        metadata={
            "allowed": "one of params, macs, flops with a share up to 1, or with a number above 1",
            "help": "A budget such as flops=0.5; it is used in place of a percent.",
        },
    )
    scope: Scope = field(
        default="global",
        metadata={
            "choices": get_args(Scope),
            "help": "Rank the channels of all layers together, or prune the same share of each layer.",
        },
    )
    policy: Policy = field(
        default="auto",
        metadata={
            "choices": get_args(Policy),
            "help": "How layers choose whose channels meet in a sum or a concat: together (group), each "
            "alone (select), or together only in a sum of BatchNorm outputs (auto).",
        },
    )
    max_layer_percent: float | None = field(
        default=None,
        metadata={
            "allowed": "a share above 0 and up to 1; 1 is no cap",
            "help": "No layer loses a greater share of its channels in a pass (no cap by default; the "
            "paper's multi-pass scheme uses 0.5).",
        },
    )
    min_channels: int = field(
        default=1,
        metadata={
            "allowed": "a whole number from 1 on",
            "help": "Each layer keeps at least this many channels.",
        },
    )
    channel_multiple: int = field(
        default=1,
        metadata={
            "allowed": "a whole number from 1 on",
            "help": "Widths are rounded up to a multiple of this, or stay as they are.",
        },
    )
    keep: Sequence[str] = field(
        default=(),
        metadata={
            "allowed": PATTERNS,
            "help": "Layers that must not be pruned: names, or patterns such as layer4.*.",
        },
    )
    layers: Mapping[str, float | Fraction] | Sequence[str] | None = field(
        default=None,
        compare=False,
        metadata={
            "allowed": LAYERS,
            "help": "Layers with a share of their own, by name or pattern, such as layer4.*=0.3; the percent "
            "or target is for all others. The last pattern that matches a layer decides.",
        },
    )
    compensate: bool = field(
        default=True,
        metadata={
            "allowed": "true or false",
            "help": "Add the constants that pruned channels contributed to the biases of the layers that "
            "read them.",
        },
    )
    ratio: Ratio = field(init=False, repr=False, compare=False)
    """`percent` as an exact fraction, or "dead". Not used when there is a `budget`."""
    budget: Target | None = field(init=False, repr=False)
    """`target` parsed; None for no budget."""
    shares: tuple[tuple[str, Fraction], ...] = field(init=False, repr=False)
    """`layers` parsed: patterns and exact fractions, in the order in which they are given."""

    def __post_init__(self) -> None:
        ratio = parse_ratio(self.percent)
        shares = parse_shares({} if self.layers is None else self.layers)
        layers = {
            name: float(share) if exact(float(share)) == share else share for name, share in shares.items()
        }
        parsed: dict[str, Any] = {
            "ratio": ratio,
            "target": self.target or None,
            "budget": None,
            "keep": parse_patterns(self.keep),
            "layers": layers or None,
            "shares": tuple(shares.items()),
        }
        if not isinstance(self.percent, Fraction):
            parsed["percent"] = ratio if ratio == "dead" else float(ratio)
        if self.target:
            parsed["budget"] = Target.parse(self.target)
        for name in ("scope", "policy"):
            _check_choice(name, getattr(self, name))
        parsed["max_layer_percent"] = _parse_cap(self.max_layer_percent)
        for name in ("min_channels", "channel_multiple"):
            parsed[name] = _parse_count(name, getattr(self, name))
        if not isinstance(self.compensate, bool):
            raise _refused("compensate", self.compensate, "Use true or false")
        for name, value in parsed.items():
            object.__setattr__(self, name, value)

    def with_keywords(self, **keywords: Any) -> PruningOptions:
        """These options with some of them changed; a new percent drops the target. None leaves it as it is.

        Raises:
            ConfigError: both a percent and a target are given, or a value is not allowed.
        """
        given = {name: value for name, value in keywords.items() if value is not None}
        if "percent" in given and given.get("target"):
            remedy = "Give a percent such as 0.5, or a target such as flops=0.5"
            raise ConfigError("only one of the two is allowed", field="percent, target", remedy=remedy)
        if "percent" in given:
            given["target"] = None
        return replace(self, **given)

    def to_inputs(self) -> dict[str, Any]:
        """The options as inputs of a pipeline: plain JSON types, `PruningOptions(**inputs)` reads them back.

        A percent is text, a target is a mapping (empty for none), and 1.0 is written for no cap. `layers` are
        texts such as "layer4.*=0.3": their order counts, and KFP keeps the order of a list only.
        """
        target = {} if self.budget is None else {self.budget.measure: self.budget.value}
        cap = 1.0 if self.max_layer_percent is None else self.max_layer_percent
        percent = "dead" if self.ratio == "dead" else str(float(self.ratio))
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        layers = [f"{pattern}={float(share)!r}" for pattern, share in self.shares]
        changed = {"percent": percent, "target": target, "max_layer_percent": cap}
        return values | changed | {"keep": list(self.keep), "layers": layers}


class PruningKeywords(TypedDict, total=False):
    """The fields of `PruningOptions` as keywords of a function."""

    percent: Percent | None
    target: str | Mapping[str, float] | None
    scope: Scope
    policy: Policy
    max_layer_percent: float | None
    min_channels: int
    channel_multiple: int
    keep: Sequence[str]
    layers: Mapping[str, float | Fraction] | Sequence[str]
    compensate: bool


def option_table() -> dict[str, OptionInfo]:
    """Each option by name, in the order of `PruningOptions`."""
    table = {}
    for item in fields(PruningOptions):
        if item.init:
            choices = item.metadata.get("choices", ())
            allowed = item.metadata.get("allowed", f"one of {', '.join(choices)}")
            table[item.name] = OptionInfo(item.default, allowed, item.metadata["help"], choices)
    return table


def _parse_cap(value: object) -> float | None:
    """The cap as a number; None where it limits nothing."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise _refused(
            "max_layer_percent", value, "The paper's multi-pass scheme uses 0.5; leave it out for no cap"
        )
    return None if value == 1 else float(value)


def _parse_count(name: str, value: object) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 1 <= value < math.inf
        or value % 1
    ):
        raise _refused(name, value, "Use 1 or more")
    return int(value)


def _check_choice(name: str, value: object) -> None:
    choices = option_table()[name].choices
    if value not in choices:
        raise _refused(name, value, f"The default is {choices[0]}")


def _refused(name: str, value: object, remedy: str) -> ConfigError:
    return ConfigError(f"must be {option_table()[name].allowed}", field=name, value=value, remedy=remedy)
