"""The run's config: where values come from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.options import pairs
from netslim_kfp.pipelines.run_config import RunConfig, load


def test_a_bare_run_is_the_demo() -> None:
    arguments = RunConfig().pipeline_arguments()
    assert (arguments["model"], arguments["dataset"], arguments["preset"]) == (
        "vgg-digits",
        "digits",
        "digits",
    )
    assert (arguments["passes"], arguments["percent"]) == (3, "0.5")


@pytest.mark.parametrize(
    ("dataset", "preset", "model"),
    [
        ("mnist", "mnist", "mlp"),
        ("cifar100", "cifar", "vgg19"),
        ("svhn", "svhn", "vgg19"),
        ("folder", "imagenet", "vgg_a"),
    ],
)
def test_the_dataset_brings_its_recipe_and_its_network(dataset: str, preset: str, model: str) -> None:
    config = RunConfig(dataset=dataset)
    assert (config.preset, config.model) == (preset, model)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "dataset: mnist\npercent: 0.8\nlambda: 1e-3\nmax-layer-percent: 0.9\nsparse: {epochs: 3}\n"
    )
    config = load(file, {"percent": "0.7"})
    assert (config.dataset, config.percent, config.lam, config.max_layer_percent) == (
        "mnist",
        0.7,
        0.001,
        0.9,
    )
    assert config.pipeline_arguments()["sparse"] == {"epochs": 3, "lam": 0.001}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"percent": 1.0}, r"percent = 1.0: must be at least 0 and below 1"),
        ({"percent": 50}, r"percent = 50.0: .* Write 0.5 for 50 %"),
        ({"percent": -0.1}, r"percent = -0.1"),
        ({"percent": float("nan")}, r"percent = nan"),
        ({"percent": "half"}, r"percent = half: neither a number nor the word dead"),
        ({"lam": -1e-4}, r"lam = -0.0001: must be a number of at least 0"),
        ({"lam": float("inf")}, r"lam = inf"),
        ({"lam": 1e-4, "pull": 2}, r"pull = 2: lambda and pull both set"),
        ({"passes": 0}, r"passes = 0: must be a number of at least 1"),
        ({"passes": 7}, r"passes = 7: too many passes for one pipeline"),
        ({"passes": 2.5}, r"passes = 2.5: must be a whole number"),
        ({"max_layer_percent": 0}, r"max_layer_percent = 0: must be above 0"),
        ({"channel_multiple": 0}, r"channel_multiple = 0"),
        ({"policy": "guess"}, r"policy = guess: unknown choice. Choose one of auto, group, select"),
        ({"runner": "argo"}, r"runner = argo: unknown choice"),
        ({"max_loss": -1}, r"max_loss = -1"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precent: 0.5\n", "precent: unknown option. Did you mean percent"),
        ("- a\n- b\n", "must hold `option: value` lines"),
        ("a: [1,\n", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(file, {})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "nowhere.yaml", {})


def test_pairs_are_read_as_yaml() -> None:
    assert pairs(
        "base", ("epochs=20", "lr=1e-1", "momentum=9E-1", "milestones=[0.3, 0.6]", "nesterov=false")
    ) == {
        "epochs": 20,
        "lr": 0.1,
        "momentum": 0.9,
        "milestones": [0.3, 0.6],
        "nesterov": False,
    }
    with pytest.raises(ConfigError, match="base = epochs: not of the form NAME=VALUE"):
        pairs("base", ("epochs",))


def test_gpus_are_told_by_the_environment_and_change_no_cache_key() -> None:
    assert RunConfig().environment() == {}
    assert RunConfig(gpus=4).environment() == {"NETSLIM_EXPECTED_GPUS": "4"}
    assert RunConfig(gpus=0).environment() == {"NETSLIM_EXPECTED_GPUS": "0", "CUDA_VISIBLE_DEVICES": ""}
    assert RunConfig(gpus=4).pipeline_arguments() == RunConfig().pipeline_arguments()
    for wrong in (-1, 1.5, True):
        with pytest.raises(ConfigError, match=rf"gpus = {wrong}: must be a whole number of at least 0"):
            RunConfig(gpus=wrong)
