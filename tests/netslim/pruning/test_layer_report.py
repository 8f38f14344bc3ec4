"""The preflight table as text, as a rich table and as JSON."""

from __future__ import annotations

import io
import json

from rich.console import Console

from netslim.pruning.layer_report import LayerRow, Report

REPORT = Report(
    rows=(
        LayerRow("features.1", 64, 32, 32),
        LayerRow("features.10", 512, 0, 1, "floor: keeps 1"),
        LayerRow("head", 8, 8, 8),
    ),
    notes=("wanted 552 factors, got 551",),
)


def test_plain_text() -> None:
    assert str(REPORT) == (
        "layer        have  want  get  why\n"
        "features.1     64    32   32\n"
        "features.10   512     0    1  floor: keeps 1\n"
        "head            8     8    8\n"
        "3 layers      584    40   41\n"
        "note: wanted 552 factors, got 551"
    )


def test_rich_table_shows_the_same_cells() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(REPORT.table())
    shown = console.export_text()
    for line in str(REPORT).removesuffix(REPORT.notes[0]).splitlines():
        assert all(word in shown for word in line.removeprefix("note:").split())
    assert REPORT.notes[0] in shown


def test_json_round_trip() -> None:
    assert Report.from_json(json.loads(json.dumps(REPORT.to_json()))) == REPORT


def test_empty() -> None:
    assert str(Report()).splitlines()[0].split() == ["layer", "have", "want", "get", "why"]
