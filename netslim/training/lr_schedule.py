"""The learning rates of a whole run, and the total pull of the sparsity term under them. No torch here.

A schedule is computed ahead as one array, a rate per optimizer step. A resumed run reads on at its step,
and the sum that the total pull needs is a sum over what will really be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCHEDULES", "lambda_for_total_shrinkage", "learning_rates", "pull"]

SCHEDULES = ("step", "cosine", "constant")

Rates = NDArray[np.floating[Any]]


def learning_rates(
    lr: float, steps: int, *, schedule: str = "step", milestones: Sequence[float] = (0.5, 0.75)
) -> Rates:
    """The learning rate of each of `steps` optimizer steps, float64.

    `step` divides by 10 at every milestone, a fraction of the run. A milestone is exact to the step, also
    where it falls inside an epoch (75 % of 30 epochs), and a third is a third: 0.3333333 is read as 1/3.
    `cosine` falls from `lr` to (not quite) 0 along half a cosine; `constant` stays.
    """
    assert schedule in SCHEDULES, schedule
    step = np.arange(steps)
    if schedule == "constant":
        return np.full(steps, float(lr))
    if schedule == "cosine":
        return np.asarray(lr * 0.5 * (1.0 + np.cos(np.pi * step / max(steps, 1))))
    passed = np.zeros(steps, dtype=np.int64)
    for milestone in milestones:
        share = Fraction(milestone).limit_denominator(1000)
        passed += step * share.denominator >= share.numerator * steps
    return lr / 10.0**passed


def pull(lam: float, rates: Rates, momentum: float) -> float:
    """How far the sparsity term alone moves a scaling factor in a run: lam * sum(lr) / (1 - momentum).

    Momentum multiplies the effect of a steady gradient by 1 / (1 - momentum). The pull predicts the sparsity
    reached across schedules, epochs and batch sizes, which lambda alone does not.
    """
    return float(lam * rates.sum() / (1.0 - momentum))


def lambda_for_total_shrinkage(total: float, rates: Rates, momentum: float) -> float:
    """The lambda whose total pull over these learning rates is `total`."""
    return float(total * (1.0 - momentum) / rates.sum()) if total else 0.0
