"""The presets against the paper's section 4.3, typed here a second time."""

from __future__ import annotations

import pytest

from netslim.errors import ConfigError
from netslim.training import presets

CIFAR = {"epochs": 160, "batch_size": 64, "lr": 0.1, "schedule": "step", "milestones": [0.5, 0.75]}
THIRDS = {"schedule": "step", "milestones": [1 / 3, 2 / 3], "batch_size": 256}
PAPER = {
    ("cifar", "base"): CIFAR | {"lam": 0},
    ("cifar", "sparse"): CIFAR | {"lam": 1e-4},
    ("cifar", "fine_tune"): CIFAR | {"lam": 0},
    ("svhn", "base"): CIFAR | {"epochs": 20, "select": "val", "lam": 0},
    ("svhn", "sparse"): CIFAR | {"epochs": 20, "select": "val", "lam": 1e-4},
    ("svhn", "fine_tune"): CIFAR | {"epochs": 20, "select": "val", "lam": 0},
    ("imagenet", "base"): THIRDS | {"epochs": 60, "lr": 0.1, "lam": 0},
    ("imagenet", "sparse"): THIRDS | {"epochs": 60, "lr": 0.1, "lam": 1e-5},
    ("imagenet", "fine_tune"): {"epochs": 5, "lr": 1e-3, "schedule": "constant", "batch_size": 256, "lam": 0},
    ("mnist", "base"): THIRDS | {"epochs": 30, "lr": 0.1, "lam": 0},
    ("mnist", "sparse"): THIRDS | {"epochs": 30, "lr": 0.1},
    ("mnist", "fine_tune"): THIRDS | {"epochs": 30, "lr": 0.1, "lam": 0},
}
ALWAYS = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "label_smoothing": 0, "penalty": "l1"}


@pytest.mark.parametrize(("preset", "stage"), PAPER)
def test_the_papers_recipes(preset, stage):
    found = presets.stage(preset, stage).to_mapping()
    assert {name: found[name] for name in PAPER[preset, stage] | ALWAYS} == PAPER[preset, stage] | ALWAYS


@pytest.mark.parametrize("preset", presets.names())
def test_only_sparse_training_has_the_l1_term(preset):
    recipes = {stage: presets.stage(preset, stage) for stage in presets.STAGES}
    assert {stage for stage, recipe in recipes.items() if recipe.lam or recipe.pull} == {"sparse"}


@pytest.mark.parametrize("preset", presets.names())
def test_no_preset_selects_a_model_by_anything_but_validation(preset):
    assert {presets.stage(preset, stage).select for stage in presets.STAGES} <= {"last", "val"}


def test_overrides_win():
    recipe = presets.stage("cifar", "sparse", {"epochs": 2.0, "lam": 1e-5})
    assert (recipe.epochs, recipe.lam, recipe.batch_size) == (2, 1e-5, 64)


def test_lam_and_pull_replace_each_other():
    assert presets.stage("digits", "sparse").pull > 0
    by_lam = presets.stage("digits", "sparse", {"lam": 1e-3})
    assert (by_lam.lam, by_lam.pull) == (1e-3, 0)
    by_pull = presets.stage("cifar", "sparse", {"pull": 2})
    assert (by_pull.lam, by_pull.pull) == (0, 2)
    without = presets.stage("cifar", "sparse", {"lam": 0})
    assert (without.lam, without.pull) == (0, 0)


@pytest.mark.parametrize(
    ("text", "lam", "pull"), [("lam=0.001", 1e-3, 0), ("lam=1e-05", 1e-5, 0), ("pull=4.0", 0, 4), ("", 0, 2)]
)
def test_a_strength_as_text_replaces_that_of_the_overrides(text: str, lam: float, pull: float) -> None:
    own = {"epochs": 3, "pull": 2}
    recipe = presets.stage("cifar", "sparse", presets.with_strength(own, text))
    assert (recipe.epochs, recipe.lam, recipe.pull) == (3, lam, pull)
    assert own == {"epochs": 3, "pull": 2}


@pytest.mark.parametrize("text", ["0.001", "lam", "lam=", "lam=small", "lr=0.1", '{"lam": 0.001}'])
def test_a_strength_of_another_form_is_refused_with_its_remedy(text: str) -> None:
    with pytest.raises(ConfigError, match=r"Write lam=0\.0001 or pull=2") as caught:
        presets.with_strength({}, text)
    assert (caught.value.field, caught.value.value) == ("strength", text)


@pytest.mark.parametrize(
    ("call", "field", "says"),
    [
        (("cifar10", "base"), "preset", "cifar"),
        (("xyz", "base"), "preset", "digits"),
        (("cifar", "finetune"), "stage", "fine_tune"),
        (("cifar", "base", {"lam": 1e-4}), "lam", "stage base"),
        (("cifar", "fine_tune", {"pull": 1}), "pull", "stage fine_tune"),
        (("cifar", "base", {"epoch": 3}), "epoch", "epochs"),
    ],
)
def test_mistakes(call, field, says):
    with pytest.raises(ConfigError) as caught:
        presets.stage(*call)
    assert caught.value.field == field
    assert says in str(caught.value)
