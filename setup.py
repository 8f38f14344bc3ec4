"""What pyproject.toml cannot express: the names of the installed packages, and the long description.

The wheel installs `netslim`, and below the one namespace `netslim_kfp` the steps and the pipelines. The
folders `components/` and `pipelines/` have names that any project may use, so the wheel renames them.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

REPOSITORY = "https://github.com/netslim/netslim"
RELATIVE_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def absolute_links(markdown: str) -> str:
    """Make links to files of the repository absolute, so that they work on a package index."""

    def absolute(link: re.Match[str]) -> str:
        image, text, path = link.groups()
        return f"{image}[{text}]({REPOSITORY}/{'raw' if image else 'blob'}/main/{path})"

    return RELATIVE_LINK.sub(absolute, markdown)


setup(
    packages=[
        *find_packages(include=["netslim", "netslim.*"]),
        *(f"netslim_kfp.{name}" for name in find_packages(include=["components*", "pipelines*"])),
    ],
    package_dir={"netslim_kfp.components": "components", "netslim_kfp.pipelines": "pipelines"},
    long_description=absolute_links((Path(__file__).parent / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
