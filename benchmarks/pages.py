"""Write the tables of the documentation from the stored results, without measuring again.

    python -m benchmarks.pages            # update every page
    python -m benchmarks.pages --check    # change nothing; exit code 1 if a page is out of date

The text between `<!-- results: NAME -->` and `<!-- end -->` on a page is generated from
benchmarks/results/NAME.json by the benchmark that measured it. The rest of the page is written by hand.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click

from benchmarks.stored import RESULTS, load
from netslim.storage.atomic import atomic_file

__all__ = ["BLOCK", "generate", "pages", "update"]

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"<!-- results: (?P<name>\S+) -->\n.*?<!-- end -->", re.DOTALL)


def generate(name: str, results: Path = RESULTS) -> str:
    """The Markdown of one stored result, such as "engine" or "paper/table3", or of the summary of all."""
    if name == "summary":
        from benchmarks.summary import page

        return page(lambda result: load(result, results))
    module = "benchmarks.paper.result" if name.startswith("paper/") else f"benchmarks.{name}"
    return str(importlib.import_module(module).page(load(name, results)))


def update(text: str, results: Path = RESULTS) -> str:
    """The text of a page with every block generated again."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- results: {name} -->\n\n{generate(name, results)}\n\n<!-- end -->"

    return BLOCK.sub(block, text)


def pages(docs: Path = DOCS) -> list[Path]:
    """The pages that have generated blocks."""
    return [file for file in sorted(docs.rglob("*.md")) if BLOCK.search(file.read_text(encoding="utf-8"))]


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if a page is out of date.")
@click.option("--docs", type=click.Path(path_type=Path, exists=True), default=DOCS, help="Folder of pages.")
@click.option("--results", type=click.Path(path_type=Path, exists=True), default=RESULTS, help="Results.")
def main(check: bool, docs: Path, results: Path) -> None:
    """Write the tables of the documentation from the stored results."""
    outdated = False
    for file in pages(docs):
        before = file.read_text(encoding="utf-8")
        after = update(before, results)
        if before == after:
            continue
        outdated = True
        click.echo(f"{'out of date' if check else 'updated'}: {file.relative_to(docs)}")
        if not check:
            with atomic_file(file) as draft:
                draft.write_text(after, encoding="utf-8")
    raise SystemExit(check and outdated)


if __name__ == "__main__":
    main()
