"""The results of a run are the same after JSON, refuse impossible values, and give references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netslim.errors import DataError
from netslim.pruning.layer_report import LayerRow
from netslim.results.measures import Histogram, Latency, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import Decision, RunResults
from tests.helpers.results import pass_result


def row(index: int, **values: Any) -> PassResult:
    before = Size(channels=100, params=1000, macs=2000) if index else None
    return pass_result(index, **{"channels": 50, "params": 500, "macs": 700, "size_before": before, **values})


FULL = row(
    1,
    trained=0.7,
    pruned=0.8,
    threshold=0.01,
    near_zero_share=0.6,
    latency={1: Latency(median_ms=0.5, p95_ms=0.6), 32: Latency(median_ms=3.0)},
    onnx_sha256="ab",
    layer_macs={"features.0": 500, "head": 200},
    layers=(LayerRow("features.1", 32, 10, 16, "cap"),),
    gammas=Histogram(edges=(0.0, 0.5, 1.0), counts=(3, 4)),
    curves={"sparse": ({"step": 0, "ts": 17, "train/loss": 2.5},), "fine_tune": ()},
    reason="continues",
    continue_=True,
)


def test_json_round_trip(tmp_path: Path) -> None:
    results = RunResults((row(0, channels=100), FULL), {"model": "vgg"})
    results.save(tmp_path / "results.json")
    assert RunResults.load(tmp_path / "results.json") == results
    assert json.loads((tmp_path / "results.json").read_text())["format"] == "netslim.results/1"


def test_flops_are_twice_the_macs_and_the_pruned_share_follows_from_sizes() -> None:
    assert FULL.size.flops == 1400
    assert FULL.pruned_share == 0.5
    assert row(0).pruned_share is None
    assert [row(0).title, row(2).title, row(1, label="lambda 1e-4").title] == [
        "baseline",
        "pass 2",
        "lambda 1e-4",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"errors": {"test": 101}}, r"errors\.test"),
        ({"errors": {"test": -1}}, r"errors\.test"),
        ({"errors": {"test": float("nan")}}, r"errors\.test"),
        ({"errors": {"test": "1"}}, r"errors\.test"),
        ({"errors": {"test": 1, "pruned": float("inf")}}, r"errors\.pruned"),
        ({"errors": {}}, "pass 1"),
        ({"errors": 1.0}, "pass 1"),
        ({"near_zero_share": 1.5}, "near_zero_share"),
        ({"size": {"channels": 1, "params": -1, "macs": 1}}, "params"),
        ({"size_before": {"channels": 1}}, "pass 1"),
        ({"latency": {"1": {"median_ms": float("nan")}}}, "median_ms"),
        ({"latency": {"one": {"median_ms": 1.0}}}, "pass 1"),
        ({"gammas": {"edges": [0, 1], "counts": [1, 2]}}, "gammas"),
        ({"curves": {"sparse": [{"loss": 1}]}}, "sparse"),
        ({"continue_": "no"}, "continue_"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], named: str) -> None:
    data = json.loads(json.dumps(FULL.to_json())) | change
    with pytest.raises(DataError, match=f"results {named}|results .*{named}"):
        PassResult.from_json(data)


def test_a_missing_value_is_named() -> None:
    data = FULL.to_json()
    del data["size"]
    with pytest.raises(DataError, match="results pass 1: 'size' is missing"):
        PassResult.from_json(data)


@pytest.mark.parametrize("data", [[], {}, {"format": "netslim.results/2", "rows": []}, "text"])
def test_other_formats_are_refused(data: object) -> None:
    with pytest.raises(DataError, match=r"expected netslim\.results/1"):
        RunResults.from_json(data)


@pytest.mark.parametrize("indices", [(2,), (0, 2), (1, 1), (1, 0)])
def test_passes_are_consecutive(indices: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="consecutive"):
        RunResults(tuple(row(index) for index in indices))


def test_a_retried_pass_replaces_its_row_and_later_rows() -> None:
    results = RunResults((row(0), row(1), row(2)))
    assert [one.index for one in results.with_row(row(1, test=5.0)).rows] == [0, 1]
    assert results.with_row(row(3)).rows[:3] == results.rows


def test_points_of_a_sweep_may_have_the_same_index() -> None:
    points = tuple(row(1, label=f"percent 0.{tenths}") for tenths in range(1, 10))
    assert RunResults.from_json(RunResults(points).to_json()) == RunResults(points)


def test_a_decision_is_written_into_the_last_row() -> None:
    decided = RunResults((row(0), row(1))).with_decision(Decision(continue_=False, reason="done"))
    assert [(one.reason, one.continue_) for one in decided.rows] == [("", None), ("done", False)]


def test_a_run_has_ended_when_the_decision_after_its_last_pass_was_to_stop() -> None:
    continued, stopped = row(0, continue_=True), row(1, continue_=False)
    assert RunResults((continued, stopped)).ended
    assert not RunResults((continued,)).ended
    assert not RunResults((continued, row(1))).ended
    assert not RunResults().ended


def test_the_references_of_a_comparison() -> None:
    first = row(1, trained=3.0)
    assert RunResults((row(0, test=2.0), first)).reference_error == ("the baseline", 2.0)
    assert RunResults((first,)).reference_error == ("the unpruned network", 3.0)
    assert RunResults((row(0), first)).reference_size == row(0).size
    assert RunResults((first,)).reference_size == first.size_before
    empty = RunResults()
    assert empty.reference_size is empty.baseline is empty.reference_error is None


def test_the_allowed_increase_is_read_by_its_new_and_its_old_name() -> None:
    assert RunResults((), {"max_error_increase": "0.5"}).max_error_increase == 0.5
    assert RunResults((), {"max_loss": "2"}).max_error_increase == 2.0
    assert RunResults().max_error_increase is None


def test_a_sweep_is_concluded_by_validation_errors_alone() -> None:
    points = [
        row(1, test=1.0, validation=3.0, label="lambda 0.1"),
        row(1, test=2.0, validation=2.5, label="lambda 0.01"),
    ]
    assert RunResults(tuple(points)).conclusion == "Lowest validation error: 2.50 % at lambda 0.01."
    assert "nothing may be chosen" in RunResults((*points, row(1, label="lambda 1"))).conclusion
    assert RunResults((row(1, reason="done: 1 of 1 passes"),)).conclusion == "Done: 1 of 1 passes."
    assert RunResults().conclusion == ""
