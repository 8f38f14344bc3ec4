"""The ledger survives JSON, refuses nonsense, and decides as its documentation says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netslim.errors import DataError
from netslim.pruning.layer_report import LayerRow
from netslim.results.run_results import Decision, Histogram, PassResult, RunResults, Size, should_continue


def row(index: int, *, error: float = 1.0, channels: int = 50, **more: Any) -> PassResult:
    before = Size(channels=100, params=1000, macs=2000) if index else None
    values = {
        "channels": channels,
        "params": 500,
        "macs": 700,
        "onnx_bytes": 9,
        "measured_at": 1,
        "before": before,
    }
    return PassResult(**(values | {"index": index, "error": error} | more))


FULL = row(
    1,
    error_trained=0.7,
    error_pruned=0.8,
    threshold=0.01,
    zero_share=0.6,
    latency_ms={1: 0.5, 32: 3.0},
    latency_p95_ms={1: 0.6, 32: 4.0},
    onnx_sha256="ab",
    layers=(LayerRow("features.1", 32, 10, 16, "cap"),),
    gammas=Histogram(edges=(0.0, 0.5, 1.0), counts=(3, 4)),
    curves={"sparse": ({"step": 0, "ts": 17, "train/loss": 2.5},), "fine_tune": ()},
    note="goes on",
    go_on=True,
)


def test_json_round_trip(tmp_path: Path) -> None:
    ledger = RunResults((row(0, channels=100), FULL), {"model": "vgg"})
    ledger.save(tmp_path / "ledger.json")
    assert RunResults.load(tmp_path / "ledger.json") == ledger
    assert RunResults.load(tmp_path / "ledger.json").rows[1].latency_ms[32] == 3.0


def test_flops_are_twice_the_macs_and_shares_follow_from_sizes() -> None:
    assert FULL.flops == 1400
    assert FULL.pruned_share == 0.5
    assert row(0).pruned_share is None
    assert [row(0).title, row(2).title, row(1, label="lambda 1e-4").title] == [
        "baseline",
        "pass 2",
        "lambda 1e-4",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"error": 101}, "error"),
        ({"error": -1}, "error"),
        ({"error": float("nan")}, "error"),
        ({"error": "1"}, "error"),
        ({"error_pruned": float("inf")}, "error_pruned"),
        ({"zero_share": 1.5}, "zero_share"),
        ({"params": -1}, "params"),
        ({"latency_ms": {"1": float("nan")}}, "latency_ms"),
        ({"latency_ms": {"one": 1.0}}, "row 1"),
        ({"gammas": {"edges": [0, 1], "counts": [1, 2]}}, "gammas"),
        ({"curves": {"sparse": [{"loss": 1}]}}, "sparse"),
        ({"before": {"channels": 1}}, "row 1"),
        ({"go_on": "no"}, "go_on"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], told: str) -> None:
    data = json.loads(json.dumps(FULL.to_json())) | change
    with pytest.raises(DataError, match=told):
        PassResult.from_json(data)


@pytest.mark.parametrize("data", [[], {}, {"format": "netslim.ledger/0", "rows": []}, "text"])
def test_other_formats_are_refused(data: object) -> None:
    with pytest.raises(DataError, match=r"expected netslim\.ledger/1"):
        RunResults.from_json(data)


@pytest.mark.parametrize("indices", [(2,), (0, 2), (1, 1), (1, 0)])
def test_rows_are_consecutive(indices: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="consecutive"):
        RunResults(tuple(row(index) for index in indices))


def test_a_retried_pass_replaces_its_row() -> None:
    ledger = RunResults((row(0), row(1), row(2)))
    assert [r.index for r in ledger.with_row(row(1, error=5.0)).rows] == [0, 1]
    assert ledger.with_row(row(3)).rows[:3] == ledger.rows


def test_points_of_a_sweep_are_no_passes() -> None:
    points = tuple(row(1, label=f"percent 0.{tenths}") for tenths in range(1, 10))
    assert RunResults.from_json(RunResults(points).to_json()) == RunResults(points)


def test_a_decision_is_the_last_rows() -> None:
    decided = RunResults((row(0), row(1))).with_decision(Decision(go_on=False, reason="done"))
    assert [(r.note, r.go_on) for r in decided.rows] == [("", None), ("done", False)]


def test_a_run_has_ended_when_its_last_row_says_stop() -> None:
    went_on, stopped = row(0, go_on=True), row(1, go_on=False)
    assert RunResults((went_on, stopped)).ended
    assert not RunResults((went_on,)).ended
    assert not RunResults((went_on, row(1))).ended
    assert not RunResults().ended


def test_a_ledger_of_0_1_0_has_no_decisions_and_loads() -> None:
    data = RunResults((row(0), row(1, note="done: 1 of 1 passes"))).to_json()
    for one in data["rows"]:
        del one["go_on"]
    loaded = RunResults.from_json(json.loads(json.dumps(data)))
    assert [r.go_on for r in loaded.rows] == [None, None]
    assert not loaded.ended


def test_what_is_compared_with() -> None:
    first = row(1, error_trained=3.0)
    assert RunResults((row(0, error=2.0), first)).allowed_from == ("the baseline", 2.0)
    assert RunResults((first,)).allowed_from == ("the unpruned network", 3.0)
    assert RunResults((row(0), first)).wide == row(0)
    assert RunResults((first,)).wide == first.before
    assert RunResults().wide is RunResults().baseline is RunResults().allowed_from is None


@pytest.mark.parametrize(
    ("rows", "go_on", "reason"),
    [
        ([row(0, error=9.0)], True, "goes on: pass 1 of 3 follows"),
        ([row(0, error=1.0), row(1, error=2.0)], True, "goes on: pass 2 of 3 follows"),
        (
            [row(0, error=1.3), row(1, error=2.3)],
            True,
            "goes on: pass 2 of 3 follows",
        ),  # 2.3 - 1.3 > 1 in binary
        (
            [row(0, error=1.0), row(1, error=2.13)],
            False,
            "stopped: error 2.13 % is 1.13 points above the baseline's 1.00 %, more than the 1 allowed",
        ),
        (
            [row(1, error=3.0, error_trained=1.0)],
            False,
            "stopped: error 3.00 % is 2.00 points above the unpruned network's 1.00 %, more than",
        ),
        ([row(1, error=99.0)], True, "goes on: pass 2 of 3 follows"),  # nothing to compare with
        ([row(0), row(1, channels=100)], False, "stopped: nothing was left to prune"),
        ([row(0), row(1), row(2), row(3)], False, "done: 3 of 3 passes"),
        ([row(0), row(1), row(2), row(3, error=9.0)], False, "stopped: error 9.00 % is 8.00 points above"),
    ],
)
def test_decisions(rows: list[PassResult], go_on: bool, reason: str) -> None:
    decision = should_continue(RunResults(tuple(rows)), passes=3, max_loss=1.0)
    assert decision.go_on is go_on
    assert decision.reason.startswith(reason)


def test_the_validation_error_decides_where_there_is_one() -> None:
    held_out = RunResults((row(0, channels=100, error=1.0, error_val=2.0), row(1, error=9.0, error_val=2.5)))
    assert should_continue(held_out, passes=3, max_loss=1.0).go_on, "the test error is for reporting"
    worse = RunResults((row(0, channels=100, error=1.0, error_val=2.0), row(1, error=1.0, error_val=4.0)))
    reason = should_continue(worse, passes=3, max_loss=1.0).reason
    assert reason.startswith("stopped: validation error 4.00 % is 2.00 points above the baseline's 2.00 %")


def test_a_sweep_is_concluded_by_validation_errors_alone() -> None:
    points = [
        row(1, error=1.0, error_val=3.0, label="lambda 0.1"),
        row(1, error=2.0, error_val=2.5, label="lambda 0.01"),
    ]
    assert RunResults(tuple(points)).conclusion == "Lowest validation error: 2.50 % at lambda 0.01."
    assert "nothing may be chosen" in RunResults((*points, row(1, label="lambda 1"))).conclusion
    assert RunResults((row(1, note="done: 1 of 1 passes"),)).conclusion == "Done: 1 of 1 passes."
    assert RunResults().conclusion == ""
