"""One HTML page about a run: light and dark, for phones and desks, with nothing to load from anywhere."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

import netslim
from netslim.report.figures import figures
from netslim.report.style import COLOURS
from netslim.report.tables import CAPTION, columns, scaled, significant, times
from netslim.results.run_results import RunResults

__all__ = ["html"]


class Tile(NamedTuple):
    """A number to see first, what it counts, and what it is to be compared with."""

    value: str
    what: str
    beside: str


def html(ledger: RunResults) -> str:
    """The page of a run; a ledger without rows gives a page that says that no pass was finished."""
    template = files("netslim.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    constants = dict(ledger.constants)
    return environment.from_string(template).render(
        title=f"{constants.get('architecture', 'a network')} on {constants.get('dataset', 'a dataset')}",
        ledger=ledger,
        tiles=_tiles(ledger),
        columns=columns(ledger),
        caption=CAPTION,
        plots=[(plot, plot.svg(ledger)) for plot in figures(ledger)],
        pruned=[row for row in ledger.rows if row.layers],
        colours=COLOURS,
        version=netslim.__version__,
    )


def _tiles(ledger: RunResults) -> list[Tile]:
    """What the last pass has reached. A sweep has no last pass."""
    if not ledger.rows or ledger.reference_size is None or any(row.label for row in ledger.rows):
        return []
    last, wide, reference = ledger.rows[-1], ledger.reference_size, ledger.reference_error
    params, flops = wide.params / max(1, last.size.params), wide.flops / max(1, last.size.flops)
    change = f"{last.errors.test - reference.error:+.2f} points against {reference.name}" if reference else ""
    tiles = [
        Tile(times(params), "fewer parameters", f"{last.size.params:,} of {wide.params:,}"),
        Tile(times(flops), "fewer FLOPs", f"{scaled(last.size.flops)} of {scaled(wide.flops)}"),
        Tile(f"{last.errors.test:.2f} %", "test error", change),
    ]
    before = ledger.baseline.latency if ledger.baseline else {}
    if shared := before.keys() & last.latency.keys():
        batch = max(shared)
        now = last.latency[batch].median_ms
        beside = f"{significant(now)} ms for {batch} images, one thread"
        tiles.append(Tile(times(before[batch].median_ms / now), "faster", beside))
    return tiles
