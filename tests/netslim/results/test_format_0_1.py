"""Results that version 0.1.0 wrote are read with every value in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netslim.errors import DataError
from netslim.results.format_0_1 import upgrade_pass
from netslim.results.measures import Errors, Histogram, Latency, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

FILE = Path(__file__).parents[2] / "data" / "0.1.0" / "ledger.json"


def old_pass(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))["rows"][1]
    return data | changes


def test_a_ledger_of_0_1_0_is_read() -> None:
    results = RunResults.load(FILE)
    baseline, last = results.rows
    assert last.size == Size(channels=247, params=72000, macs=900000)
    assert last.size_before == baseline.size == Size(channels=448, params=288170, macs=2380000)
    assert last.errors == Errors(test=1.75, validation=1.75, trained=1.3, pruned=1.5)
    assert last.latency == {
        1: Latency(median_ms=0.12, p95_ms=0.15),
        32: Latency(median_ms=2.1, p95_ms=2.4),
    }
    assert last.gammas == Histogram(edges=(0, 0.5, 1), counts=(300, 148))
    assert [layer.layer for layer in last.layers] == ["features.1"]
    assert (last.near_zero_share, last.threshold) == (0.6, 0.0125)
    assert (last.reason, last.continue_) == ("done: 1 of 1 passes", False)
    assert (last.index, last.onnx_bytes, last.onnx_sha256) == (1, 300000, "cd34")
    assert (last.measured_at, last.layer_macs["head"]) == (1700000100000, 300000)
    assert last.curves["fine_tune"][0]["train/loss"] == 0.4
    assert results.max_error_increase == 1.0
    assert results.ended


def test_it_is_written_in_the_new_format_and_read_again() -> None:
    results = RunResults.load(FILE)
    written = json.loads(json.dumps(results.to_json()))
    assert written["format"] == "netslim.results/1"
    assert RunResults.from_json(written) == results


def test_the_first_files_of_0_1_0_hold_no_decision() -> None:
    data = old_pass()
    del data["go_on"]
    assert PassResult.from_json(data).continue_ is None


def test_every_value_of_an_old_pass_is_taken_over() -> None:
    numbers = sorted(_leaves(old_pass()), key=repr)
    assert sorted(_leaves(upgrade_pass(old_pass())), key=repr) == numbers


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        return [
            leaf for one in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(one)
        ]
    return [value]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"error": 101}, r"errors\.test"),
        ({"params": -1}, "params"),
        ({"latency_ms": {"one": 1.0}}, "pass 1"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_value_of_an_old_pass_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=f"results {named}"):
        PassResult.from_json(old_pass(**change))
