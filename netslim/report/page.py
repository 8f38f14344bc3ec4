"""One HTML page about a run, for light and dark screens of every width. It loads nothing from a network."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

import netslim
from netslim.report.figures import figures
from netslim.report.style import COLOURS
from netslim.report.tables import CAPTION, columns, scaled, significant, times
from netslim.results.best_model import best_model
from netslim.results.ending import Ending
from netslim.results.run_results import RunResults

__all__ = ["html"]


class Tile(NamedTuple):
    """A number at the top of the page, its label, and a line below it."""

    value: str
    label: str
    detail: str


def html(results: RunResults, ending: Ending | None = None) -> str:
    """The page of a run. Without any pass it states that no pass was finished.

    Args:
        ending: how a run ended that did not end by its results; the page says so above everything else.
    """
    template = files("netslim.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    constants = dict(results.constants)
    return environment.from_string(template).render(
        title=f"{constants.get('architecture', 'a network')} on {constants.get('dataset', 'a dataset')}",
        results=results,
        failure=ending.sentence if ending else "",
        best=best_model(results),
        tiles=_tiles(results),
        columns=columns(results),
        caption=CAPTION,
        plots=[(plot, plot.svg(results)) for plot in figures(results)],
        pruned=[row for row in results.rows if row.layers],
        colours=COLOURS,
        version=netslim.__version__,
    )


def _tiles(results: RunResults) -> list[Tile]:
    """The last pass compared with the wide network; none for a sweep, whose points have no order."""
    if not results.rows or results.reference_size is None or any(row.label for row in results.rows):
        return []
    last, wide, reference = results.rows[-1], results.reference_size, results.reference_error
    params, flops = wide.params / max(1, last.size.params), wide.flops / max(1, last.size.flops)
    change = f"{last.errors.test - reference.error:+.2f} points against {reference.name}" if reference else ""
    tiles = [
        Tile(times(params), "fewer parameters", f"{last.size.params:,} of {wide.params:,}"),
        Tile(times(flops), "fewer FLOPs", f"{scaled(last.size.flops)} of {scaled(wide.flops)}"),
        Tile(f"{last.errors.test:.2f} %", "test error", change),
    ]
    if last.speedup:
        batch = max(last.speedup)
        detail = f"{significant(last.latency[batch].median_ms)} ms for {batch} images, one thread"
        tiles.append(Tile(times(last.speedup[batch]), "faster", detail))
    return tiles
