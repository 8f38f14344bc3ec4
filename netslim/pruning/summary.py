"""The first lines of a report: what was asked of a pruning, what was reached, and what kept them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netslim.cost import Cost
from netslim.pruning.budget import Target
from netslim.pruning.layer_report import LayerRow, limits_of
from netslim.pruning.options import PruningOptions
from netslim.pruning.ranking import Choice
from netslim.pruning.removal_steps import ChannelGroup
from netslim.sparsity import ZERO_GAMMA

__all__ = ["Summary", "summary_by_percent", "summary_by_target"]


@dataclass(frozen=True)
class Summary:
    """The lines of a report with these names; see `Report`."""

    asked: str
    reached: str
    limits: tuple[str, ...]


def summary_by_percent(groups: Sequence[ChannelGroup], choice: Choice, options: PruningOptions) -> Summary:
    """The summary of a choice by `options.ratio`, and by the shares of groups."""
    others, own = _Part.of(groups, choice, shares=False), _Part.of(groups, choice, shares=True)
    requested = choice.requested - own.requested
    asked = []
    if others.rows:
        if options.ratio == "dead":
            where = " in all other layers" if own.rows else ""
            zeros = f"all factors at zero, |gamma| < {ZERO_GAMMA:g}{where}"
            asked.append(f"{zeros}: {requested:,} of {others.total:,}")
        else:
            which = "other layer" if own.rows else "layer"
            where = f"in each {which}" if options.scope == "layer" else f"over all {which}s"
            share = f"{100 * float(options.ratio):.4g} %"
            asked.append(f"{share} of {others.total:,} scaling factors {where}: {requested:,}")
    if own.rows:
        asked.append(own.asked)
    total = others.total + own.total
    reached = f"{choice.removed / total:.1%}: {choice.removed:,} scaling factors"
    if own.rows and others.rows:
        reached += f", {own.removed:,} of them by shares of single layers"
    short = others.rows if others.removed < requested else ()
    return Summary("; ".join(asked), reached, limits_of((*short, *own.rows)))


def summary_by_target(
    groups: Sequence[ChannelGroup], choice: Choice, target: Target, *, before: Cost, after: Cost
) -> Summary:
    """The summary of a choice that meets a budget, with groups that have shares.

    Limits count where they change a share: for the other layers the percent is what it must be.
    """
    others, own = _Part.of(groups, choice, shares=False), _Part.of(groups, choice, shares=True)
    asked = f"{target}: at most {target.goal(before):,.0f} of {target.of(before):,}"
    total = others.total + own.total
    share = f"{target.measure}={target.of(after) / target.of(before):.4g}: {target.of(after):,}"
    reached = f"{share}, without {choice.removed / total:.1%} of {total:,} scaling factors"
    if own.rows:
        asked = f"{asked}; {own.asked}"
    return Summary(asked, reached, limits_of(own.rows))


@dataclass(frozen=True)
class _Part:
    """The groups that have a share, or those that have none. Counts are of scaling factors."""

    rows: tuple[LayerRow, ...]
    total: int
    removed: int
    requested: int
    """How many the shares are; 0 for groups without."""

    @classmethod
    def of(cls, groups: Sequence[ChannelGroup], choice: Choice, *, shares: bool) -> _Part:
        pairs = zip(groups, choice.rows, strict=True)
        own = [(group, row) for group, row in pairs if (group.share is not None) == shares]
        return cls(
            tuple(row for _, row in own),
            total=sum(group.factors * row.before for group, row in own),
            removed=sum(group.factors * (row.before - row.after) for group, row in own),
            requested=sum(group.factors * group.lost_by_share for group, _ in own),
        )

    @property
    def asked(self) -> str:
        layers = "1 layer" if len(self.rows) == 1 else f"{len(self.rows)} layers"
        return f"the shares of {layers}: {self.requested:,} of {self.total:,}"
