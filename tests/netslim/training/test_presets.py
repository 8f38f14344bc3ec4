"""The presets against the paper's section 4.3, written here a second time."""

from __future__ import annotations

import pytest

from netslim.errors import ConfigError
from netslim.training import presets

CIFAR = {"epochs": 160, "batch_size": 64, "lr": 0.1, "schedule": "step", "milestones": [0.5, 0.75]}
THIRDS = {"schedule": "step", "milestones": [1 / 3, 2 / 3], "batch_size": 256}
PAPER = {
    ("cifar", "base"): CIFAR | {"lambda": 0},
    ("cifar", "sparse"): CIFAR | {"lambda": 1e-4},
    ("cifar", "fine_tune"): CIFAR | {"lambda": 0},
    ("svhn", "base"): CIFAR | {"epochs": 20, "select": "val", "lambda": 0},
    ("svhn", "sparse"): CIFAR | {"epochs": 20, "select": "val", "lambda": 1e-4},
    ("svhn", "fine_tune"): CIFAR | {"epochs": 20, "select": "val", "lambda": 0},
    ("imagenet", "base"): THIRDS | {"epochs": 60, "lr": 0.1, "lambda": 0},
    ("imagenet", "sparse"): THIRDS | {"epochs": 60, "lr": 0.1, "lambda": 1e-5},
    ("imagenet", "fine_tune"): {
        "epochs": 5,
        "lr": 1e-3,
        "schedule": "constant",
        "batch_size": 256,
        "lambda": 0,
    },
    ("mnist", "base"): THIRDS | {"epochs": 30, "lr": 0.1, "lambda": 0},
    ("mnist", "sparse"): THIRDS | {"epochs": 30, "lr": 0.1},
    ("mnist", "fine_tune"): THIRDS | {"epochs": 30, "lr": 0.1, "lambda": 0},
}
ALWAYS = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "label_smoothing": 0, "penalty": "l1"}


@pytest.mark.parametrize(("preset", "stage"), PAPER)
def test_the_papers_recipes(preset, stage):
    recipe = presets.stage(preset, stage).to_mapping()
    assert {name: recipe[name] for name in PAPER[preset, stage] | ALWAYS} == PAPER[preset, stage] | ALWAYS


@pytest.mark.parametrize("preset", presets.names())
def test_only_sparse_training_has_the_l1_term(preset):
    recipes = {stage: presets.stage(preset, stage) for stage in presets.STAGES}
    assert {stage for stage, recipe in recipes.items() if recipe.lambda_ or recipe.total_shrinkage} == {
        "sparse"
    }


@pytest.mark.parametrize("preset", presets.names())
def test_no_preset_selects_a_model_by_its_test_error(preset):
    assert {presets.stage(preset, stage).select for stage in presets.STAGES} <= {"last", "val"}


def test_overrides_replace_the_presets_fields():
    recipe = presets.stage("cifar", "sparse", {"epochs": 2.0, "lambda": 1e-5})
    assert (recipe.epochs, recipe.lambda_, recipe.batch_size) == (2, 1e-5, 64)


def test_lambda_and_total_shrinkage_replace_each_other():
    assert presets.stage("digits", "sparse").total_shrinkage > 0
    by_lambda = presets.stage("digits", "sparse", {"lambda": 1e-3})
    assert (by_lambda.lambda_, by_lambda.total_shrinkage) == (1e-3, 0)
    by_shrinkage = presets.stage("cifar", "sparse", {"total_shrinkage": 2})
    assert (by_shrinkage.lambda_, by_shrinkage.total_shrinkage) == (0, 2)
    without = presets.stage("cifar", "sparse", {"lambda": 0})
    assert (without.lambda_, without.total_shrinkage) == (0, 0)


def test_the_names_of_version_0_1_0_replace_each_other_too():
    assert presets.stage("digits", "sparse", {"lam": 1e-3}) == presets.stage(
        "digits", "sparse", {"lambda": 1e-3}
    )
    assert presets.stage("cifar", "sparse", {"pull": 2}) == presets.stage(
        "cifar", "sparse", {"total_shrinkage": 2}
    )


@pytest.mark.parametrize(
    ("text", "lambda_", "total_shrinkage"),
    [
        ("lambda=0.001", 1e-3, 0),
        ("lam=1e-05", 1e-5, 0),
        ("total_shrinkage=3", 0, 3),
        ("pull=4.0", 0, 4),
        ("", 0, 2),
    ],
)
def test_a_strength_as_text_replaces_that_of_the_overrides(
    text: str, lambda_: float, total_shrinkage: float
) -> None:
    overrides = {"epochs": 3, "pull": 2}
    recipe = presets.stage("cifar", "sparse", presets.with_strength(overrides, text))
    assert (recipe.epochs, recipe.lambda_, recipe.total_shrinkage) == (3, lambda_, total_shrinkage)
    assert overrides == {"epochs": 3, "pull": 2}


@pytest.mark.parametrize("text", ["0.001", "lambda", "lam=", "lambda=small", "lr=0.1", '{"lambda": 0.001}'])
def test_a_strength_of_another_form_is_refused_with_its_remedy(text: str) -> None:
    with pytest.raises(ConfigError, match=r"Write lambda=0\.0001 or total_shrinkage=2") as caught:
        presets.with_strength({}, text)
    assert (caught.value.field, caught.value.value) == ("strength", text)


@pytest.mark.parametrize(
    ("call", "field", "says"),
    [
        (("cifar10", "base"), "preset", "cifar"),
        (("xyz", "base"), "preset", "digits"),
        (("cifar", "finetune"), "stage", "fine_tune"),
        (("cifar", "base", {"lambda": 1e-4}), "lambda", "stage base"),
        (("cifar", "base", {"lam": 1e-4}), "lambda", "stage base"),
        (("cifar", "fine_tune", {"pull": 1}), "total_shrinkage", "stage fine_tune"),
        (("cifar", "base", {"epoch": 3}), "epoch", "epochs"),
    ],
)
def test_a_wrong_name_is_refused_with_its_field(call, field, says):
    with pytest.raises(ConfigError) as caught:
        presets.stage(*call)
    assert caught.value.field == field
    assert says in str(caught.value)
