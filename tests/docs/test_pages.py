"""The pages link to files that exist, show commands that parse, and list values that the code has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from netslim import errors
from netslim.__main__ import cli
from netslim.pruning.options import option_table
from netslim.training import recipe
from netslim_kfp.pipelines.run_config import RunConfig

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "images")),
]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that a forge gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.*)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", read(page))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def commands() -> Iterator[str]:
    """Every `netslim ...` of the users' pages, in blocks of commands and in sentences."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = read(page)
        shell = "\n".join(block for language, block in BLOCK.findall(text) if not language)
        blocks = shell.replace("\\\n", " ").splitlines()
        for line in [*blocks, *re.findall(r"`([^`]+)`", FENCE.sub("", text).replace("\n", " "))]:
            words = " ".join(line.split()).removeprefix("PYTHONPATH=. ")
            if re.match(r"netslim [a-z-]", words) and "[" not in words:
                yield words


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_parses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "https://kubeflow.example")  # as step 6 of operate.md sets it
    words = [word for word in shlex.split(line, comments=True)[1:] if word not in ("...", "&")]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    if words and "--help" not in words:  # a sentence may name a command without its arguments
        command.parse_args(click.Context(command), words)


def test_the_commands_are_found() -> None:
    names = {line.split()[1] for line in commands()}
    assert names >= {
        "run",
        "show",
        "verify",
        "bench",
        "sensitivity",
        "publish",
        "sign",
        "sweep",
        "submit",
        "compile",
        "doctor",
    }


def test_the_make_targets_of_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        code = re.findall(r"^make ([a-z0-9-]+)|`make ([a-z0-9-]+)", read(page), re.MULTILINE)
        assert {first or second for first, second in code} <= targets, page


def rows(page: str, header: str) -> dict[str, str]:
    """The table of a page below `header`: the second cell by each name in the first cell."""
    lines = read(ROOT / "docs" / page).partition(header)[2].split("\n\n")[0].splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")
    ]
    return {name.strip("` |"): value for first, value, *_ in cells[1:] for name in first.split(", ")}


def test_the_table_of_defaults_is_that_of_the_code() -> None:
    table = rows("guide.md", "| option | default | meaning of the default |")
    options = {name: row.default for name, row in option_table().items()}
    config = {name: field.default for name, field in RunConfig.model_fields.items()}
    assert set(options) - {"compensate"} <= set(table)
    for name, text in table.items():
        expected = options[name] if name in options else config[name]
        plain = f"{expected:g}" if isinstance(expected, float) else str(expected)
        shown = "none" if expected in (None, ()) else plain
        assert text.strip("`") == shown
        if name in options and name not in ("target", "layers"):
            assert config[name] == expected, "the command line has another default than netslim.prune"


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    table = {int(code) for code in rows("guide.md", "| code | meaning |")}
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert table == {0, 130, 143} | {
        kind.exit_code for kind in kinds if issubclass(kind, errors.NetslimError)
    }


def test_the_guide_names_every_augmentation() -> None:
    text = rows("guide.md", "| value | meaning |")["augment"]
    assert set(recipe._CHOICES["augment"]) == set(re.findall(r"`([a-z0-9]+)`", text))
