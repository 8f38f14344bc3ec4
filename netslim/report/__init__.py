"""The report of a run: a table for the terminal, plots, and one HTML page.

    table(results)  a rich.table.Table over passes
    html(results)   one self-contained page, light and dark, that needs no network
    plots(results)  PNG images by name, for MLflow
    overview(results)  the last pass in a few lines of Markdown, for KFP's page of a step

Each imports its libraries (rich, jinja2, matplotlib) on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netslim.report.figures import plots
    from netslim.report.page import html
    from netslim.report.pass_overview import overview
    from netslim.report.tables import markdown, table

__all__ = ["html", "markdown", "overview", "plots", "table"]

_MODULES = {
    "html": "page",
    "markdown": "tables",
    "overview": "pass_overview",
    "plots": "figures",
    "table": "tables",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"netslim.report.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'netslim.report' has no attribute {name!r}")
