"""The error of a model on a split, against the same computed by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netslim.data import Split
from netslim.training.evaluate import evaluate
from tests.helpers import infos
from tests.helpers.corners import corners, network, same


def test_the_error_is_the_share_of_wrong_answers_and_the_model_is_unchanged(tmp_path: Path) -> None:
    dataset = corners(tmp_path)
    model = network().train()
    model[1].eval()
    before = copy.deepcopy(model)
    split = dataset.split("test")
    images = torch.from_numpy((split.images / 255 - 0.3) / 0.2).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(images)
    error_count = int((logits.argmax(1).numpy() != split.labels).sum())
    assert evaluate(model, split, dataset.info, batch_size=7) == pytest.approx(100 * error_count / 40)
    assert same(model, before)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]


@pytest.mark.parametrize(("side", "batches"), [(8, [500, 100]), (32, [128] * 4 + [88]), (224, [8] * 75)])
def test_batches_have_about_the_same_number_of_pixels_for_every_image_size(
    side: int, batches: list[int]
) -> None:
    class Sizes(nn.Module):
        """Records the size of each batch; every answer is class 0."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.sizes = nn.Parameter(torch.ones(1)), list[int]()

        def forward(self, images: Tensor) -> Tensor:
            self.sizes.append(len(images))
            return images.new_zeros(len(images), 2)

    images = np.zeros((600, side, side, 1), np.uint8)
    info = replace(infos.info((side, side)), mean=(0.5,), std=(0.25,))
    model = Sizes()
    assert evaluate(model, Split(images, np.arange(600) % 2), info) == 50
    assert model.sizes == batches
