"""The last pass in a few lines of Markdown, for KFP's page of the step `evaluate`."""

from __future__ import annotations

from netslim.report.tables import markdown
from netslim.results.best_model import best_model
from netslim.results.run_results import RunResults

__all__ = ["overview"]


def overview(results: RunResults) -> str:
    """A heading, the decision after the last pass, the model to take so far, and the table over passes."""
    last, best = results.rows[-1], best_model(results)
    lines = [f"## {last.title[:1].upper()}{last.title[1:]}", ""]
    lines += [f"{last.reason[:1].upper()}{last.reason[1:]}."] if last.reason else []
    lines += [best.sentence] if best else []
    return "\n".join([*lines, "", markdown(results), ""])
