"""history.jsonl: readable while it grows, rewritten to its checkpoint's rows on a resume."""

from __future__ import annotations

import json

import pytest

from netslim.training.history import History


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_on_disk_at_once(tmp_path):
    path = tmp_path / "deep" / "history.jsonl"
    history = History(path)
    assert rows(path) == []
    for epoch in (1, 2):
        row = history.append(epoch, {"train/loss": 1 / epoch})
        assert rows(path)[-1] == row
        assert (row["step"], row["train/loss"]) == (epoch, 1 / epoch)
        assert row["ts"] > 1.6e12  # milliseconds
    assert rows(path) == history.rows


def test_a_resumed_history_has_nothing_after_its_checkpoint(tmp_path):
    path = tmp_path / "history.jsonl"
    first = History(path)
    for epoch in (1, 2, 3):
        first.append(epoch, {"train/loss": 0.0})
    path.write_text(path.read_text() + '{"step": 4, "tra')  # killed in the middle of a line
    History(path, first.rows[:2]).append(3, {"train/loss": 5.0})
    assert rows(path)[:2] == first.rows[:2]
    assert [row["train/loss"] for row in rows(path)] == [0.0, 0.0, 5.0]


def test_without_a_path_it_stays_in_memory():
    history = History(None)
    history.append(1, {})
    assert len(history.rows) == 1


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        History(tmp_path / "h").append(1, {"train/loss": float("nan")})
