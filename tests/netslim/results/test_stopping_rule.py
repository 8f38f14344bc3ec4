"""When the passes end: each reason by itself, and the order of the reasons."""

from __future__ import annotations

from typing import Any

import pytest

from netslim.results.measures import Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.results.stopping_rule import should_continue
from tests.helpers.results import pass_result


def row(index: int, test: float = 1.0, **values: Any) -> PassResult:
    before = Size(channels=100, params=1000, macs=2000) if index else None
    return pass_result(index, **{"channels": 50, "size_before": before, "test": test, **values})


@pytest.mark.parametrize(
    ("rows", "continue_", "reason"),
    [
        ([row(0, 9.0)], True, "continues: pass 1 of 3 follows"),
        ([row(0, 1.0), row(1, 2.0)], True, "continues: pass 2 of 3 follows"),
        ([row(0, 1.3), row(1, 2.3)], True, "continues: pass 2 of 3 follows"),  # 2.3 - 1.3 > 1 in binary
        (
            [row(0, 1.0), row(1, 2.13)],
            False,
            "stopped: error 2.13 % is 1.13 points above the baseline's 1.00 %, more than the 1 allowed",
        ),
        (
            [row(1, 3.0, trained=1.0)],
            False,
            "stopped: error 3.00 % is 2.00 points above the unpruned network's 1.00 %, more than",
        ),
        ([row(1, 99.0)], True, "continues: pass 2 of 3 follows"),  # nothing to compare with
        ([row(0), row(1, channels=100)], False, "stopped: nothing was left to prune"),
        ([row(0), row(1), row(2), row(3)], False, "done: 3 of 3 passes"),
        ([row(0), row(1), row(2), row(3, 9.0)], False, "stopped: error 9.00 % is 8.00 points above"),
    ],
)
def test_decisions(rows: list[PassResult], continue_: bool, reason: str) -> None:
    decision = should_continue(RunResults(tuple(rows)), passes=3, max_error_increase=1.0)
    assert decision.continue_ is continue_
    assert decision.reason.startswith(reason)


def test_the_validation_error_decides_where_there_is_one() -> None:
    baseline = row(0, 1.0, validation=2.0)
    better = RunResults((baseline, row(1, 9.0, validation=2.5)))
    assert should_continue(better, passes=3, max_error_increase=1.0).continue_
    worse = RunResults((baseline, row(1, 1.0, validation=4.0)))
    reason = should_continue(worse, passes=3, max_error_increase=1.0).reason
    assert reason.startswith("stopped: validation error 4.00 % is 2.00 points above the baseline's 2.00 %")


@pytest.mark.parametrize("validation", [{}, {"validation": 0.0}])
def test_the_test_error_decides_unless_the_baseline_was_validated(
    validation: dict[str, float],
) -> None:
    results = RunResults((row(0, 1.0), row(1, 4.0, **validation)))
    assert should_continue(results, passes=3, max_error_increase=1.0).reason.startswith("stopped: error 4.00")
