"""The evidence of a run for a person: a table for the terminal, plots, and one HTML page.

    table(ledger)  a rich.table.Table over passes
    html(ledger)   one self-contained page, light and dark, that needs no network
    plots(ledger)  PNG images by name, for MLflow

Each loads what it needs (rich, jinja2, matplotlib) on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netslim.report.figures import plots
    from netslim.report.page import html
    from netslim.report.tables import markdown, table

__all__ = ["html", "markdown", "plots", "table"]

_HOMES = {"html": "page", "markdown": "tables", "plots": "figures", "table": "tables"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"netslim.report.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'netslim.report' has no attribute {name!r}")
