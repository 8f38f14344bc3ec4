"""Which model of a run is the one to take."""

from __future__ import annotations

import dataclasses

import pytest

from netslim.results.best_model import best_model
from netslim.results.run_results import RunResults
from tests.helpers.results import pass_result


def run(
    errors: tuple[float, ...], macs: tuple[int, ...], *, validation: tuple[float, ...] = (), loss: str = "0.5"
) -> RunResults:
    held_out = validation or (None,) * len(errors)
    rows = zip(errors, macs, held_out, strict=True)
    return RunResults(
        tuple(pass_result(k, test=e, macs=m, validation=v) for k, (e, m, v) in enumerate(rows)),
        {"max_error_increase": loss},
    )


@pytest.mark.parametrize(
    ("errors", "macs", "chosen"),
    [
        ((1.0, 1.25, 1.5), (90, 30, 10), 2),  # 1.5 is just within 1.0 + 0.5
        ((1.0, 1.25, 1.51), (90, 30, 10), 1),
        ((1.0, 9.0, 9.0), (90, 30, 10), 0),
        ((1.0, 1.2, 1.1), (90, 30, 30), 2),  # equal FLOPs: the lower error
    ],
)
def test_it_has_the_fewest_flops_within_the_allowed_error_increase(
    errors: tuple[float, ...], macs: tuple[int, ...], chosen: int
) -> None:
    best = best_model(run(errors, macs))
    assert best is not None
    assert (best.result.index, best.error) == (chosen, errors[chosen])
    assert (best.reference_error, best.kind) == (1.0, "test")


def test_the_validation_error_decides_where_there_is_one() -> None:
    best = best_model(run((1.0, 9.0, 9.0), (90, 30, 10), validation=(2.0, 2 + 1 / 3, 2 + 2 / 3)))
    assert best is not None
    assert (best.result.index, best.reference_error, best.kind) == (1, 2.0, "validation")
    assert best.sentence == "Take pass 1: 2.33 % validation error, 1 parameters, 60 FLOPs."


def test_a_sweep_has_none() -> None:
    points = run((1.0, 1.0), (90, 30)).rows
    labelled = tuple(dataclasses.replace(row, label=f"percent 0.{row.index}") for row in points)
    assert best_model(RunResults(labelled, {"max_error_increase": "1"})) is None
