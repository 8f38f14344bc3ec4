"""The summary of all stored results on docs/results.md; `python -m benchmarks.pages` writes it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import demo_seeds, engine
from benchmarks.paper.result import Row, Table, spread
from benchmarks.provenance import markdown

__all__ = ["page"]

Load = Callable[[str], dict[str, Any]]
DETAILS = "measurements"


def page(load: Load) -> str:
    header = (
        "experiment",
        "error before, %: paper",
        "ours",
        "after: paper",
        "ours",
        "params pruned, %: paper",
    )
    paper = markdown((*header, "ours"), _experiments(load))
    own = markdown(("measured", "result"), _speed(load))
    return f"{paper}\n\n{own}"


def _experiments(load: Load) -> Iterator[tuple[str, ...]]:
    """Each experiment of the paper that slims a network: errors before and after, and parameters."""
    for name in ("The paper's recipe", "Ours", "Ours, augmented"):
        table = _table(load, "table3", name)
        yield _cells(f"[Table 3]({DETAILS}/table3.md): {name.lower()}", table, "baseline", "fine-tuned")
    for number, percents in enumerate((("70%",), ("40%", "70%"), ("40%", "60%"))):
        table = _table(load, "table1", number)
        network = table.title.split(": ")[1]
        for percent in percents:
            title = f"[Table 1]({DETAILS}/table1.md), reduced: {network}, {percent} of channels"
            yield _cells(title, table, "baseline", f"{percent} pruned")
    table = _table(load, "table4", 0)
    base, passes = table.rows[0], table.rows[1:]
    best = min(passes, key=lambda row: statistics.fmean(row.ours["fine-tuned, error %"]))
    yield (
        f"[Table 4]({DETAILS}/table4.md), reduced: the best pass, {best.name}",
        *_pair(base, "trained, error %", ".2f"),
        *_pair(best, "fine-tuned, error %", ".2f"),
        *_pair(best, "params pruned, %", ".1f"),
    )
    for row in _table(load, "table2", 0).rows[1:]:
        removed = _pair(row, "params pruned, %", ".1f")
        yield (f"[Table 2]({DETAILS}/table2.md), not trained: {row.name}", "", "", "", "", *removed)


def _table(load: Load, experiment: str, which: str | int) -> Table:
    """A table of an experiment, by title or by position."""
    tables = [Table.from_json(each) for each in load(f"paper/{experiment}")["tables"]]
    return tables[which] if isinstance(which, int) else next(t for t in tables if t.title == which)


def _cells(title: str, table: Table, before: str, after: str) -> tuple[str, ...]:
    first, last = table.row(before), table.row(after)
    errors = (*_pair(first, "test error, %", ".2f"), *_pair(last, "test error, %", ".2f"))
    return (title, *errors, *_pair(last, "params pruned, %", ".1f"))


def _pair(row: Row, column: str, form: str) -> tuple[str, str]:
    """The paper's number and ours."""
    published = row.paper.get(column)
    return "" if published is None else format(published, form), spread(row.ours[column], form)


def _speed(load: Load) -> Iterator[tuple[str, str]]:
    demo = demo_seeds.totals(load("demo_seeds")["runs"])
    yield (
        f"[`make demo`]({DETAILS}/demo-seeds.md), mean over seeds",
        f"{demo['params']:.1f}x fewer parameters, {demo['flops']:.1f}x fewer FLOPs, "
        f"error {demo['error_increase']:+.2f} points",
    )
    total = engine.totals(load("engine")["rows"])
    yield (
        f"[pruning, beside Torch-Pruning]({DETAILS}/engine-speed.md)",
        f"works on {total.ours} and {total.theirs} of {total.models} torchvision classifiers; median "
        f"{total.faster_median:.1f}x faster, {total.memory_median:.1f}x less memory",
    )
    ratios = [row["auto x"] for row in load("train")["rows"]]
    yield (
        f"[training, beside a common loop]({DETAILS}/training-speed.md)",
        f"{min(ratios):.1f}x to {max(ratios):.1f}x faster",
    )
    rows = [row for row in load("realised")["rows"] if row["convolutions"]]
    shares = [[row["realised_b32"] for row in rows if row["multiple"] == multiple] for multiple in (1, 8)]
    free, rounded = (f"{min(each):.1f} to {max(each):.1f}" for each in shares)
    yield (
        f"[share of a FLOP reduction that becomes time]({DETAILS}/realised-speedup.md), batch 32",
        f"{free} with free widths, {rounded} with multiples of 8",
    )
