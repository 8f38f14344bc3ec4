"""A page of prose and results: people write the one, and this puts the other between its markers."""

from __future__ import annotations

import re
from pathlib import Path

from netslim.files import atomic_file

__all__ = ["gather"]

BLOCK = re.compile(r"<!-- results: (?P<name>\S+) -->\n.*?<!-- end -->", re.DOTALL)


def gather(page: Path, results: Path) -> None:
    """Put results/NAME.md, where it is there, between `<!-- results: NAME -->` and `<!-- end -->`."""

    def told(block: re.Match[str]) -> str:
        file = results / f"{block['name']}.md"
        if not file.is_file():
            return block[0]
        text = file.read_text(encoding="utf-8").replace("../../../docs/images/", "images/").strip()
        return f"<!-- results: {block['name']} -->\n\n{text}\n\n<!-- end -->"

    text = BLOCK.sub(told, page.read_text(encoding="utf-8"))
    with atomic_file(page) as draft:
        draft.write_text(text, encoding="utf-8")
