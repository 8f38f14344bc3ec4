"""The report of a pruning as text, as a rich table and as JSON."""

from __future__ import annotations

import io
import json

from rich.console import Console

from netslim.pruning.layer_report import LayerRow, Report, limits_of

REPORT = Report(
    rows=(
        LayerRow("features.1", 64, 32, 32),
        LayerRow("features.10", 512, 0, 1, "floor: keeps 1"),
        LayerRow("head", 8, 8, 8),
    ),
    notes=("the model has 2 hooks",),
    asked="94.5 % of 584 scaling factors over all layers: 552",
    reached="94.3%: 551 scaling factors",
    limits=("floor: keeps 1 (1 channel more in 1 layer)",),
)
TEXT = """\
asked: 94.5 % of 584 scaling factors over all layers: 552
reached: 94.3%: 551 scaling factors
limit: floor: keeps 1 (1 channel more in 1 layer)
layer        before  by rank  after  why
features.1       64       32     32
features.10     512        0      1  floor: keeps 1
head              8        8      8
3 layers        584       40     41
note: the model has 2 hooks"""


def test_the_text_begins_with_the_request_the_result_and_the_limit() -> None:
    assert str(REPORT) == TEXT


def test_the_rich_table_has_the_same_words() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(REPORT.table())
    shown = console.export_text()
    for line in TEXT.splitlines():
        assert all(word in shown for word in line.removeprefix("note:").split())


def test_json_reads_back() -> None:
    assert Report.from_json(json.loads(json.dumps(REPORT.to_json()))) == REPORT


def test_a_report_of_version_0_1_0_is_read() -> None:
    written = """{"rows": [{"layer": "bn1", "have": 8, "want": 3, "get": 4, "why": "cap: loses 0.5"}],
        "notes": ["never run, so never pruned: aux"]}"""
    assert Report.from_json(json.loads(written)) == Report(
        rows=(LayerRow("bn1", before=8, by_rank=3, after=4, why="cap: loses 0.5"),),
        notes=("never run, so never pruned: aux",),
    )


def test_limits_are_counted_by_reason() -> None:
    rows = (
        LayerRow("a", 10, 2, 5, "cap: loses at most 0.5"),
        LayerRow("b", 10, 4, 5, "cap: loses at most 0.5"),
        LayerRow("c", 4, 0, 1, "floor: keeps 1"),
        LayerRow("d", 10, 6, 5, "makes up for layers that a limit held back"),
        LayerRow("e", 10, 6, 6),
    )
    assert limits_of(rows) == (
        "cap: loses at most 0.5 (4 channels more in 2 layers)",
        "floor: keeps 1 (1 channel more in 1 layer)",
    )


def test_an_empty_report() -> None:
    assert str(Report()).splitlines()[0].split() == ["layer", "before", "by", "rank", "after", "why"]
