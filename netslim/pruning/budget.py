"""A budget in place of a percent: "half the FLOPs", met within 1 % or refused with the nearest possible ones.

The cost of a channel depends on its neighbours, so the percent that meets a budget is searched for. Removing
more channels never increases the cost, so the search halves the range of counts until two neighbouring counts
enclose the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, cast, get_args

from netslim.errors import ConfigError

if TYPE_CHECKING:
    from netslim.cost import Cost

__all__ = ["TOLERANCE", "Measure", "Target", "percent_for"]

Measure = Literal["params", "macs", "flops"]
TOLERANCE = 0.01
"""How far from its budget a network may end, as a share of the budget."""

_FORM = "Write for example flops=0.5, a share of the network, or params=400000, a number"


@dataclass(frozen=True)
class Target:
    """A budget: `value` up to 1 is a share of what the network has now, above 1 the number itself."""

    measure: Measure
    value: float

    @classmethod
    def parse(cls, target: str | Mapping[str, float]) -> Target:
        """Read "flops=0.5" or {"flops": 0.5}.

        Raises:
            ConfigError: not one known measure with a positive number.
        """
        try:
            (pair,) = [target.split("=")] if isinstance(target, str) else target.items()
            measure, value = pair[0].strip(), float(pair[1])
        except (AttributeError, IndexError, TypeError, ValueError):
            problem = "must be one measure and its budget"
            raise ConfigError(problem, field="target", value=target, remedy=_FORM) from None
        if measure not in get_args(Measure):
            remedy = f"Use one of {', '.join(get_args(Measure))}"
            raise ConfigError("unknown measure", field="target", value=measure, remedy=remedy)
        if not 0 < value < float("inf"):
            raise ConfigError(
                "must be a number above 0", field="target", value=f"{measure}={value:g}", remedy=_FORM
            )
        return cls(cast(Measure, measure), value)

    def of(self, cost: Cost) -> int:
        """This measure of `cost`."""
        return int(getattr(cost, self.measure))

    def goal(self, before: Cost) -> float:
        """The budget as a number."""
        return self.value * self.of(before) if self.value <= 1 else self.value

    def __str__(self) -> str:
        return f"{self.measure}={self.value:.12g}"


def percent_for(
    target: Target,
    cost_at: Callable[[Fraction], Cost],
    *,
    before: Cost,
    factors: int,
    start: Cost | None = None,
) -> Fraction:
    """The smallest percent whose network is within the budget, and at most `TOLERANCE` below it.

    Where a single removal step jumps across that range, or no percent leads into it, the percent of the
    smallest network above the budget is taken if that is at most `TOLERANCE` above it.

    Args:
        target: the budget.
        cost_at: the cost of the network after pruning a percent of the scaling factors; called about
            log2(factors) times.
        before: the cost of the network now.
        factors: how many scaling factors the percent is a share of.
        start: the cost of the network after pruning 0 %, if it is not `before`, because some layers have
            shares of their own.

    Raises:
        ConfigError: the network is within the budget already, or the budget cannot be met; the message names
            the nearest budgets that can be.
    """
    goal = target.goal(before)
    if target.of(before) <= goal:
        problem = f"the network has {target.of(before):,} already"
        raise ConfigError(problem, field="target", value=str(target), remedy="Ask for less")
    above = target.of(before if start is None else start)
    if above <= goal or not factors:  # the shares alone decide
        if abs(above - goal) <= TOLERANCE * goal:
            return Fraction(0)
        which = "largest" if above <= goal else "least"
        raise _refusal(target, before, [above], f"The {which} that the shares in `layers` allow is")
    too_few, enough = 0, factors - 1  # numbers of removed scaling factors
    below = target.of(cost_at(Fraction(enough, factors)))
    if goal < below <= (1 + TOLERANCE) * goal:
        return Fraction(enough, factors)
    if below > goal:
        limits = "floors, caps and frozen channels"
        if start is not None:
            limits = "floors, caps, frozen channels and the shares in `layers`"
        raise _refusal(target, before, [below], f"The least that {limits} allow is")
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        cost = target.of(cost_at(Fraction(middle, factors)))
        if cost > goal:
            too_few, above = middle, cost
        else:
            enough, below = middle, cost
    if below >= (1 - TOLERANCE) * goal:
        return Fraction(enough, factors)
    if above <= (1 + TOLERANCE) * goal:
        return Fraction(too_few, factors)
    raise _refusal(target, before, [below, above], "The nearest possible ones are")


def _refusal(target: Target, before: Cost, reachable: list[int], these: str) -> ConfigError:
    wide = target.of(before)
    budgets = " and ".join(f"{target.measure}={cost / wide:.4f} ({cost:,})" for cost in reachable)
    problem = f"cannot be met within {TOLERANCE:.0%}"
    return ConfigError(problem, field="target", value=str(target), remedy=f"{these} {budgets}")
