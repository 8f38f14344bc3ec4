"""Checks before a release: the changelog has a section for this version, and nothing is left in "Unreleased".

python .ci/release.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sections(changelog: str) -> dict[str, str]:
    """The text below each `## ` heading, by the first word of the heading, in the order of the file."""
    parts = re.split(r"^## +(\S+).*\n", changelog, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))


def problem(changelog: str, version: str) -> str | None:
    """Why this version cannot be released with this changelog, or None if it can."""
    found = sections(changelog)
    if found.get("Unreleased"):
        return f'"Unreleased" is not empty: raise the version above {version} and rename the section'
    released = [name for name in found if name != "Unreleased"]
    if not released or released[0] != version:
        return f"the newest section must be {version}, the version of the package"
    return None


def main() -> None:
    from netslim import __version__

    found = problem((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)
    if found:
        sys.exit(f"CHANGELOG.md: {found}")


if __name__ == "__main__":
    main()
