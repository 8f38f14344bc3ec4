"""A stored model for the tests of artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from netslim.models import artifact
from netslim.pruning.plan import Plan
from tests.helpers.small_models import trained


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, architecture = trained("mlp")
    artifact.save_model(tmp_path / "model", model, architecture, Plan.empty())
    return tmp_path / "model"
