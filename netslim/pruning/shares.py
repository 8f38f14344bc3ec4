"""Shares of channels and names of layers as users write them: parsed once, exact, or refused with a remedy.

This module loads neither torch nor numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from netslim.errors import ConfigError

__all__ = ["LAYERS", "PATTERNS", "PERCENT", "Ratio", "exact", "parse_patterns", "parse_ratio", "parse_shares"]

Ratio = Fraction | Literal["dead"]
_SHARE = "a share from 0 up to, but not including, 1"
PERCENT = f"{_SHARE}; or the word dead"
"""The allowed values of a percent, in words; so are the two below."""
PATTERNS = "names of layers, or patterns of them such as layer4.*"
LAYERS = f"{_SHARE}, by the name of a layer or a pattern such as layer4.*"

_FORM = 'Write for example {"backbone.*": 0.3, "layer1.*": 0}'


def exact(value: float | Fraction) -> Fraction:
    """The number as it is written: 0.29 is 29 / 100, so that 0.29 of 100 channels are 29 and not 28."""
    return value if isinstance(value, Fraction) else Fraction(repr(float(value)))


def parse_ratio(percent: object) -> Ratio:
    """A share as an exact fraction, or the word "dead".

    Raises:
        ConfigError: it is neither.
    """
    if percent == "dead":
        return "dead"
    share = _number(percent)
    if 0 <= share < 1:
        return percent if isinstance(percent, Fraction) else exact(share)
    remedy = _remedy(share) or "Write 0.5 to prune half of all channels, or dead for just those at zero"
    raise ConfigError(f"must be {PERCENT}", field="percent", value=percent, remedy=remedy)


def parse_patterns(keep: object) -> tuple[str, ...]:
    """Names or patterns of layers; one of them alone may be text.

    Raises:
        ConfigError: something else, or an empty text.
    """
    patterns = (keep,) if isinstance(keep, str) else keep
    if isinstance(patterns, list | tuple | set | frozenset):
        for wrong in (each for each in patterns if not isinstance(each, str) or not each):
            raise _refused("keep", PATTERNS, repr(wrong), 'Write for example ["layer4.*", "stem"]')
        return tuple(sorted(patterns) if isinstance(patterns, set | frozenset) else patterns)
    raise _refused("keep", PATTERNS, repr(keep), 'Write for example ["layer4.*", "stem"]')


def parse_shares(layers: object) -> dict[str, Fraction]:
    """The share of each layer or pattern, exact, in the order in which they are given.

    Args:
        layers: {"backbone.*": 0.3}, or texts of the form "backbone.*=0.3".

    Raises:
        ConfigError: it is neither, a share is out of range, or a pattern is empty or given twice.
    """
    if isinstance(layers, Mapping):
        pairs: list[tuple[Any, Any]] = list(layers.items())
    elif isinstance(layers, list | tuple):
        pairs = [_pair(text) for text in layers]
    else:
        raise _refused("layers", LAYERS, repr(layers), _FORM)
    shares: dict[str, Fraction] = {}
    for pattern, value in pairs:
        shown = f"{pattern}={value}"
        if not isinstance(pattern, str) or not pattern:
            raise _refused("layers", LAYERS, shown, _FORM)
        if pattern in shares:
            raise ConfigError(f"{pattern} is given twice", field="layers", value=shown, remedy="Give it once")
        share = _number(value)
        if not 0 <= share < 1:
            remedy = _remedy(share) or "Write 0.3 to prune 30 %, or 0 for nothing"
            raise ConfigError(f"must be {_SHARE}", field="layers", value=shown, remedy=remedy)
        shares[pattern] = value if isinstance(value, Fraction) else exact(share)
    return shares


def _pair(text: object) -> tuple[str, str]:
    pattern, equals, share = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not equals:
        remedy = "Write backbone.*=0.3"
        raise ConfigError("not of the form PATTERN=SHARE", field="layers", value=str(text), remedy=remedy)
    return pattern.strip(), share.strip()


def _number(value: object) -> float:
    """A number, or the number in a text; NaN for everything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _remedy(share: float) -> str:
    """What is probably meant by a number from 1 on; "" for no number, or one below 0."""
    if share == 1:
        return "Nothing would be left at 1; use a share below 1, such as 0.7"
    return f"Write {share / 100:.4g} for {share:.4g} %" if 1 < share < 100 else ""


def _refused(name: str, allowed: str, value: str, remedy: str) -> ConfigError:
    return ConfigError(f"must be {allowed}", field=name, value=value, remedy=remedy)
