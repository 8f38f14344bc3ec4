"""The loss against formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netslim.training.loss import logits_of, training_loss
from netslim.training.recipe import Recipe

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
LABELS = torch.tensor([0, 2])
TAUGHT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])


def softmax(logits: torch.Tensor, heat: float = 1.0) -> np.ndarray:
    values = np.exp(logits.double().numpy() / heat)
    return values / values.sum(1, keepdims=True)


def test_cross_entropy_with_smoothed_labels():
    wanted = np.full((2, 3), 0.3 / 3)
    wanted[[0, 1], LABELS] += 0.7
    by_hand = -(wanted * np.log(softmax(LOGITS))).sum(1).mean()
    found = training_loss(LOGITS, LABELS, None, Recipe(epochs=1, label_smoothing=0.3))
    assert float(found) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("distill", [0.25, 1.0])
def test_distillation_is_the_divergence_from_the_teacher_at_temperature(distill):
    hard = -np.log(softmax(LOGITS)[[0, 1], LABELS]).mean()
    teacher, student = softmax(TAUGHT, 3.0), softmax(LOGITS, 3.0)
    soft = (teacher * np.log(teacher / student)).sum(1).mean() * 9
    found = training_loss(LOGITS, LABELS, TAUGHT, Recipe(epochs=1, distill=distill, temperature=3.0))
    assert float(found) == pytest.approx((1 - distill) * hard + distill * soft, rel=1e-5)


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn():
    assert float(training_loss(TAUGHT, LABELS, TAUGHT, Recipe(epochs=1, distill=1.0))) == pytest.approx(
        0, abs=1e-6
    )


def test_auxiliary_heads_weigh_three_tenths_and_an_absent_one_nothing():
    recipe = Recipe(epochs=1)
    main, side = training_loss(LOGITS, LABELS, None, recipe), training_loss(TAUGHT, LABELS, None, recipe)
    found = training_loss((LOGITS, TAUGHT, None), LABELS, None, recipe)
    assert float(found) == pytest.approx(float(main) + 0.3 * float(side))
    assert logits_of((LOGITS, TAUGHT)) is LOGITS
    assert logits_of(LOGITS) is LOGITS


def test_the_loss_is_summed_in_full_precision():
    found = training_loss(LOGITS.bfloat16(), LABELS, TAUGHT.bfloat16(), Recipe(epochs=1, distill=0.5))
    assert found.dtype == torch.float32
