"""A training of the pipeline refuses a network before it trains, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netslim.errors import ModelError
from netslim.steps.run_training import run_training
from tests.helpers.training_step import training_request


def test_a_network_that_cannot_read_the_images_is_refused(dataset: Path, tmp_path: Path) -> None:
    """AlexNet, for which images of 8 x 8 pixels are too small."""
    request = replace(training_request(dataset, tmp_path / "model"), architecture="alexnet")
    with pytest.raises(ModelError, match=r"cannot read images of 1 x 8 x 8 .*too small"):
        run_training(request)
    assert not list(tmp_path.iterdir()), "neither a model nor a checkpoint"
