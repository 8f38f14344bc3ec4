"""The commands, options, files, settings and messages on the operators' pages exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from netslim_kfp.pipelines.cluster.profiles import load

ROOT = Path(__file__).parents[3]
PAGES = ("operate.md", "troubleshooting.md")
GUIDE = "\n".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every command line of the guide, in blocks and in words."""
    lines = [line for kind, text in FENCED if not kind for line in text.replace("\\\n", " ").splitlines()]
    return [line.partition("#")[0].strip(" &") for line in lines] + re.findall(r"`([^`\n]+)`", GUIDE)


OURS = sorted({line for line in commands() if re.match(r"netslim (?!show)[a-z]+ --", line)})


@pytest.mark.parametrize("line", OURS)
def test_our_commands_have_the_options_that_the_guide_gives_them(line: str) -> None:
    _, name, *words = shlex.split(line)
    (point,) = [point for point in entry_points(group="netslim.commands") if point.name == name]
    command: Any = point.load()
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    used = {word for word in words if word.startswith("-") and len(word) > 1}
    assert used <= known, used - known


def test_the_script_for_kind_is_valid_and_its_options_exist() -> None:
    """It needs a network and docker, so nothing else in the tests runs it."""
    script = ROOT / "tests/e2e/kind.sh"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text(encoding="utf-8").replace("\\\n", " ")
    used: dict[str, set[str]] = {}
    for name, line in re.findall(r'^ *(?:"\$python" -m netslim )?(submit|doctor) (.*)$', text, re.MULTILINE):
        used.setdefault(name, set()).update(re.findall(r"(?<= )--[a-z-]+", line))
    assert set(used) == {"submit", "doctor"}
    for name, options in used.items():
        (point,) = [point for point in entry_points(group="netslim.commands") if point.name == name]
        command: Any = point.load()
        assert options <= {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert "kind.sh" in (ROOT / "Makefile").read_text()
    assert "make e2e-kind" in (ROOT / ".github/workflows/kind.yml").read_text()


def test_the_guide_shows_both_commands() -> None:
    assert {line.split()[1] for line in OURS} >= {"submit", "compile", "doctor"}


def test_files_and_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9-]+)", GUIDE)) <= targets
    for path in re.findall(r"\b(?:manifests|pipelines)/[\w./-]+", GUIDE):
        assert (ROOT / path.rstrip("./")).exists() or path.startswith("manifests/overlays/$"), path


def test_the_settings_of_the_examples_exist() -> None:
    fields = set(vars(load()["train"]))
    (mine,) = [text for kind, text in FENCED if kind == "yaml" and text.startswith("# mine.yaml")]
    assert set(re.findall(r"^  (\w+):", mine, re.MULTILINE)) <= fields
    for name in ("scratch", "shm", "dataset_claim", "image_pull_secrets", "tolerations", "node_selector"):
        assert name in fields
        assert f"`{name}" in GUIDE or f"{name}:" in GUIDE


def test_the_messages_in_the_table_are_what_the_code_says() -> None:
    sources = " ".join(
        path.read_text(encoding="utf-8")
        for folder in ("netslim", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
    )
    for words in (
        "was built without CUDA",
        "does not compute",
        "not logged in (401)",
        "answers, but not as KFP does",
        "is too old for this pipeline",
        "the server does not accept requests for the host name",
        "runs can be recorded, but no artifacts",
    ):
        assert words in GUIDE
        assert words in sources
