"""Recipes: accepted values, refused values with their messages, and the names of version 0.1.0."""

from __future__ import annotations

import json
import math

import pytest

from netslim.errors import ConfigError
from netslim.training.recipe import Recipe


def test_the_defaults_are_the_papers():
    recipe = Recipe(epochs=160)
    assert (recipe.batch_size, recipe.lr, recipe.schedule, recipe.milestones) == (
        64,
        0.1,
        "step",
        (0.5, 0.75),
    )
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, True, 1e-4)
    assert recipe.lambda_ == recipe.total_shrinkage == recipe.distill == recipe.label_smoothing == 0


def test_integers_that_kubeflow_converted_to_floats_are_read_as_integers():
    recipe = Recipe.from_mapping({"epochs": 20.0, "batch_size": 64.0, "lr": 1, "milestones": [0.5, 0.75]})
    assert recipe == Recipe(epochs=20, batch_size=64, lr=1.0)
    assert isinstance(recipe.epochs, int)
    assert isinstance(recipe.lr, float)


def test_a_recipe_is_unchanged_by_json():
    recipe = Recipe(epochs=3, lambda_=1e-5, milestones=(1 / 3, 2 / 3), nesterov=False)
    assert Recipe.from_mapping(json.loads(json.dumps(recipe.to_mapping()))) == recipe


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"epochs": 0}, "epochs", "at least 1"),
        ({"epochs": 1.5}, "epochs", "whole number"),
        ({"epochs": "20"}, "epochs", "whole number"),
        ({"epochs": True}, "epochs", "whole number"),
        ({"batch_size": 1}, "batch_size", "at least 2"),
        ({"lr": 0}, "lr", "above 0"),
        ({"lr": math.nan}, "lr", "above 0"),
        ({"lr": math.inf}, "lr", "above 0"),
        ({"momentum": 1.0}, "momentum", "below 1"),
        ({"momentum": 0.0}, "nesterov", "momentum"),
        ({"nesterov": 1}, "nesterov", "true or false"),
        ({"weight_decay": -1e-4}, "weight_decay", "negative"),
        ({"label_smoothing": 1.0}, "label_smoothing", "[0, 1)"),
        ({"lambda": -1e-4}, "lambda", "negative"),
        ({"lam": -1e-4}, "lambda", "negative"),
        ({"total_shrinkage": math.nan}, "total_shrinkage", "negative"),
        ({"lambda": 1e-4, "total_shrinkage": 1.0}, "total_shrinkage", "lambda = 0.0001"),
        ({"lam": 1e-4, "lambda": 1e-4}, "lambda", "given twice"),
        ({"lambda_": 1e-4}, "lambda_", "Did you mean lambda?"),
        ({"penalty": "l2"}, "penalty", "l1, smooth-l1, proximal"),
        ({"schedule": "Cosine"}, "schedule", "step, cosine, constant"),
        ({"milestones": [0.75, 0.5]}, "milestones", "rise"),
        ({"milestones": [80, 120]}, "milestones", "between 0 and 1"),
        ({"milestones": "0.5"}, "milestones", "list of numbers"),
        ({"milestones": ["half"]}, "milestones", "number"),
        ({"distill": 1.1}, "distill", "between 0 and 1"),
        ({"temperature": 0}, "temperature", "above 0"),
        ({"adversarial": -1}, "adversarial", "negative"),
        ({"augment": "cutout"}, "augment", "pad4flip"),
        ({"precision": "fp16"}, "precision", "bf16"),
        ({"threads": -1}, "threads", "negative"),
        ({"select": "test"}, "select", "last, val"),
        ({"label_smooting": 0.1}, "label_smooting", "label_smoothing"),
        ({"zzz": 1}, "zzz", "Choose one of epochs"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(wrong, field, says):
    with pytest.raises(ConfigError) as caught:
        Recipe.from_mapping({"epochs": 2, **wrong})
    assert caught.value.field == field
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_epochs_must_be_given():
    with pytest.raises(ConfigError, match="epochs"):
        Recipe.from_mapping({"lr": 0.1})


def test_the_effective_lambda_is_lambda_or_gives_the_total_shrinkage():
    rates = Recipe(epochs=10).learning_rates(7)
    assert len(rates) == 70
    assert Recipe(epochs=10).effective_lambda(7) == 0
    assert Recipe(epochs=10, lambda_=1e-3).effective_lambda(7) == 1e-3
    lambda_ = Recipe(epochs=10, total_shrinkage=2.0).effective_lambda(7)
    assert lambda_ * rates.sum() / (1 - 0.9) == pytest.approx(2.0)


# What version 0.1.0 wrote for Recipe(epochs=2, batch_size=50, lam=0.001, penalty="proximal").
VERSION_0_1_0 = (
    '{"epochs": 2, "batch_size": 50, "lr": 0.1, "schedule": "step", "milestones": [0.5, 0.75], '
    '"momentum": 0.9, "nesterov": true, "weight_decay": 0.0001, "label_smoothing": 0.0, "lam": 0.001, '
    '"pull": 0.0, "penalty": "proximal", "distill": 0.0, "temperature": 4.0, "adversarial": 0.0, '
    '"augment": "auto", "precision": "auto", "threads": 0, "select": "last"}'
)


def test_a_recipe_of_version_0_1_0_is_read_and_identified_by_the_same_text():
    recipe = Recipe.from_mapping(json.loads(VERSION_0_1_0))
    assert recipe == Recipe(epochs=2, batch_size=50, lambda_=1e-3, penalty="proximal")
    assert recipe.identity() == VERSION_0_1_0
    assert recipe.to_mapping()["lambda"] == 1e-3
    assert not {"lam", "pull"} & set(recipe.to_mapping())
