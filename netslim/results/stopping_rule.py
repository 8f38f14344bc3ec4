"""The rule that ends the passes of multi-pass slimming (paper, section 3, "Multi-pass scheme")."""

from __future__ import annotations

from typing import NamedTuple

from netslim.results.run_results import Decision, Reference, RunResults

__all__ = ["should_continue"]

ROUNDING = 1e-9
"""Slack for binary fractions: 2.3 - 1.3 is slightly more than 1.0."""


class _Compared(NamedTuple):
    kind: str
    error: float
    reference: Reference

    @property
    def increase(self) -> float:
        return self.error - self.reference.error


def should_continue(results: RunResults, *, passes: int, max_error_increase: float) -> Decision:
    """Decide after the last pass of `results` whether another pass is to be run.

    The passes end when the error has risen too far, when the last pass removed no channel, or when all
    passes are done. The error is compared with the baseline's: the validation error where images are held
    out, else the test error. Without a baseline the test error is compared with that of the first sparsely
    trained network. The baseline itself never ends a run by its error.

    Args:
        results: at least one pass.
        passes: how many passes the user asked for.
        max_error_increase: how many percentage points the error may be above the reference.
    """
    last = results.rows[-1]
    compared = _compare(results)
    if last.index > 0 and compared and compared.increase > max_error_increase + ROUNDING:
        kind, error, (name, allowed) = compared
        higher = f"{kind} {error:.2f} % is {compared.increase:.2f} points above {name}'s {allowed:.2f} %"
        return Decision(False, f"stopped: {higher}, more than the {max_error_increase:g} allowed")
    if last.size_before and last.size.channels >= last.size_before.channels:
        return Decision(False, "stopped: nothing was left to prune")
    if last.index >= passes:
        return Decision(False, f"done: {passes} of {passes} passes")
    return Decision(True, f"continues: pass {last.index + 1} of {passes} follows")


def _compare(results: RunResults) -> _Compared | None:
    """The error of the last pass that decides, and its reference; None without anything to compare with."""
    last, baseline = results.rows[-1].errors, results.baseline
    if baseline and baseline.errors.validation is not None and last.validation is not None:
        reference = Reference("the baseline", baseline.errors.validation)
        return _Compared("validation error", last.validation, reference)
    if results.reference_error:
        return _Compared("error", last.test, results.reference_error)
    return None
