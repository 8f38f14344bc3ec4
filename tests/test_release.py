"""What is released: one version everywhere, a changelog section for it, and no surprises from make."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from netslim import __version__
from tests.conftest import SLOW

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
assert _spec is not None
assert _spec.loader is not None
release = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(release)

RELEASED = "# Changelog\n\n## Unreleased\n\n## 1.2.0 (2026-01-31)\n\n- new\n\n## 1.1.0\n\n- old\n"


@pytest.mark.parametrize(
    ("changelog", "version", "problem"),
    [
        (RELEASED, "1.2.0", None),
        (RELEASED.replace("## Unreleased\n\n", ""), "1.2.0", None),
        (RELEASED, "1.3.0", "the newest section must be 1.3.0"),
        (RELEASED, "1.1.0", "the newest section must be 1.1.0"),
        (RELEASED.replace("Unreleased\n", "Unreleased\n\n- more\n"), "1.2.0", '"Unreleased" is not empty'),
        ("# Changelog\n", "1.2.0", "the newest section must be 1.2.0"),
    ],
)
def test_a_release_needs_its_section_and_nothing_unreleased(
    changelog: str, version: str, problem: str | None
) -> None:
    found = release.problem(changelog, version)
    assert found == problem if problem is None or found is None else problem in found


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert __version__ in release.sections((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


def test_manifests_and_citation_name_this_version() -> None:
    tags = {
        image["newTag"]
        for file in (ROOT / "manifests").rglob("kustomization.yaml")
        for image in yaml.safe_load(file.read_text(encoding="utf-8")).get("images", [])
        if image["name"].startswith("netslim-")
    }
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (tags, citation["version"]) == ({__version__}, __version__)


def test_the_slow_tests_exist() -> None:
    for name in (name for names in SLOW.values() for name in names):
        file, _, function = name.partition("::")
        assert (ROOT / file).exists(), name
        assert not function or f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_make_clean_leaves_runs_and_the_environment_alone() -> None:
    done = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True)
    removed = set(re.findall(r"\S+", done.stdout)) - {"rm", "-rf"}
    assert "build" in removed
    assert not {".venv", "netslim-runs"} & removed
    done = subprocess.run(["make", "-n", "distclean"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ".venv" in done.stdout
    assert "netslim-runs" not in done.stdout


@pytest.mark.parametrize(
    ("variables", "installs"), [({}, False), ({"APT": "1"}, True), ({"CI": "true"}, True)]
)
def test_system_packages_are_installed_only_if_asked(
    tmp_path: Path, variables: dict[str, str], installs: bool
) -> None:
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    (tmp_path / "apt-get").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("APT", "CI")}
    environment |= variables | {"PATH": f"{tmp_path}:{environment['PATH']}"}
    done = subprocess.run(
        [ROOT / "images" / "apt.sh", "chromium"], env=environment, capture_output=True, text=True, check=False
    )
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    assert (done.returncode == 0) == installs
    assert calls == (["update", "install --yes --no-install-recommends chromium"] if installs else [])
    assert installs or "sudo apt-get update && sudo apt-get install" in done.stderr
    assert done.stdout == "", "images/engine.sh prints its answer there"
