"""The learning rates of a whole run, and the lambda that shrinks factors by a given amount. No torch here.

A schedule is computed in advance as one array, with one rate per optimizer step. A resumed run continues at
its step, and the sum of the rates is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCHEDULES", "lambda_for_total_shrinkage", "learning_rates"]

SCHEDULES = ("step", "cosine", "constant")

Rates = NDArray[np.floating[Any]]


def learning_rates(
    lr: float, steps: int, *, schedule: str = "step", milestones: Sequence[float] = (0.5, 0.75)
) -> Rates:
    """The learning rate of each of `steps` optimizer steps, float64.

    `step` divides the rate by 10 at every milestone, a fraction of the run. A milestone is exact to the step,
    also inside an epoch (75 % of 30 epochs), and 0.3333333 is read as 1/3. `cosine` falls from `lr` to almost
    0 along half a cosine; `constant` stays at `lr`.
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


def lambda_for_total_shrinkage(total: float, rates: Rates, momentum: float) -> float:
    """The lambda for which lambda * sum(rates) / (1 - momentum) is `total`.

    That product, the total shrinkage, is the distance by which the L1 term alone moves a scaling factor
    during a run: each step moves it by lr * lambda, and momentum multiplies the effect of a steady gradient
    by 1 / (1 - momentum). Total shrinkage predicts the sparsity across schedules, epochs and batch sizes,
    which lambda alone does not.
    """
    return float(total * (1.0 - momentum) / rates.sum()) if total else 0.0
