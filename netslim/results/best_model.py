"""The model of a run to take: the fewest FLOPs within the allowed error increase."""

from __future__ import annotations

from dataclasses import dataclass

from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

__all__ = ["BestModel", "best_model"]

TOLERANCE = 1e-9  # 2.3 - 1.3 is more than 1.0 in binary


@dataclass(frozen=True, kw_only=True)
class BestModel:
    """A pass's model with the errors that it was chosen by, in percent.

    `kind` is "validation" or "test": the images on which `error` and `reference_error` were measured.
    """

    result: PassResult
    error: float
    reference_error: float
    kind: str

    @property
    def sentence(self) -> str:
        """`Take pass 2: 1.25 % validation error, 68,050 parameters, 693,760 FLOPs.`"""
        size = self.result.size
        what = f"{self.error:.2f} % {self.kind} error, {size.params:,} parameters, {size.flops:,} FLOPs"
        return f"Take {self.result.title if self.result.index else 'the baseline'}: {what}."


def best_model(results: RunResults) -> BestModel | None:
    """The best model of a run.

    It has the fewest FLOPs among those whose error increase over the run's reference error is at most the
    allowed one (`max_error_increase`). The validation error decides where every pass has one.

    None for a sweep, for a run that sets no allowed error increase or has no reference error, and when no
    error is low enough.
    """
    allowed, reference = results.max_error_increase, results.reference_error
    if allowed is None or reference is None or any(result.label for result in results.rows):
        return None
    reference_error, kind = reference.error, "test"
    errors = {result.index: result.errors.test for result in results.rows}
    validation = {
        result.index: error for result in results.rows if (error := result.errors.validation) is not None
    }
    if results.baseline and validation.keys() == errors.keys():
        errors, reference_error, kind = validation, validation[0], "validation"
    good = [row for row in results.rows if errors[row.index] <= reference_error + allowed + TOLERANCE]
    if not good:
        return None
    best = min(good, key=lambda result: (result.size.flops, errors[result.index]))
    return BestModel(result=best, error=errors[best.index], reference_error=reference_error, kind=kind)
