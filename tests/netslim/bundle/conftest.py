"""One bundle for all tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from netslim import data
from tests.helpers.bundles import make_bundle


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    data.prepare("digits", folder)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    """The bundle. Tests must not change it."""
    return make_bundle(tmp_path_factory.mktemp("made"), dataset)


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "bundle"))
