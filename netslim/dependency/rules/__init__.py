"""The rules of the trace: one module for each kind of operation, and the table of all of them."""

from __future__ import annotations

from netslim.dependency.rule import RuleTable
from netslim.dependency.rules import (
    attributes,
    batch_norm,
    channel_select,
    concat,
    elementwise,
    factories,
    own_operation,
    pixel_shuffle,
    pooling,
    reduction,
    reshape,
    split,
    weighted_layers,
)
from netslim.dependency.rules.common import unknown

__all__ = ["RULES"]

RULES = RuleTable(
    attributes.RULES,
    weighted_layers.RULES,
    batch_norm.RULES,
    elementwise.RULES,
    factories.RULES,
    concat.RULES,
    split.RULES,
    reshape.RULES,
    pooling.RULES,
    reduction.RULES,
    pixel_shuffle.RULES,
    channel_select.RULES,
    own_operation.RULES,
    fallback=unknown,
    make_plain=factories.make_plain,
)
