"""`netslim sweep`: the points of a sweep, the options that reach it, and those that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from netslim.errors import ConfigError
from netslim.training import presets
from netslim_kfp.pipelines.cli import sweep
from netslim_kfp.pipelines.run_config import RunConfig


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every pipeline that a command starts; none is run."""
    arguments: list[dict[str, Any]] = []
    monkeypatch.setattr(sweep, "start", lambda pipeline, given, config: arguments.append(given))
    return arguments


def invoke(*options: str) -> Result:
    return CliRunner().invoke(sweep.sweep, options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [(1e-3, 0), (1e-4, 0), (1e-5, 0)]),
        (["--lambdas", "0.3e-4, 2"], [(3e-5, 0), (2, 0)]),
        (["--total-shrinkages", "1,2.5"], [(0, 1), (0, 2.5)]),
        (["--pulls", "1,2.5"], [(0, 1), (0, 2.5)]),
        (["--pulls", "1", "--sparse", "lam=0.5"], [(0, 1)]),
    ],
)
def test_every_point_has_its_own_strength_and_the_users_other_changes(
    started: list[dict[str, Any]], options: list[str], expected: list[tuple[float, float]]
) -> None:
    invoke("lambda", "--dataset", "cifar10", "--sparse", "epochs=7", *options)
    (arguments,) = started
    recipes = [
        presets.stage(arguments["preset"], "sparse", presets.with_strength(arguments["sparse"], text))
        for text in arguments["strengths"]
    ]
    assert [(recipe.lambda_, recipe.total_shrinkage) for recipe in recipes] == expected
    assert {recipe.epochs for recipe in recipes} == {7}


@pytest.mark.parametrize(("dataset", "held_out"), [("cifar10", 5000), ("svhn", 6000), ("digits", 200)])
def test_lambda_is_chosen_on_images_that_are_held_out(
    started: list[dict[str, Any]], dataset: str, held_out: int
) -> None:
    invoke("lambda", "--dataset", dataset)
    invoke("lambda", "--dataset", dataset, "--validation", "123")
    assert [arguments["validation"] for arguments in started] == [held_out, 123]


PASSED_ON = {
    "max_layer_percent": ("--max-layer-percent", "0.5", 0.5),
    "min_channels": ("--min-channels", "4", 4),
    "channel_multiple": ("--channel-multiple", "8", 8),
    "keep": ("--keep", "stem", ["stem"]),
    "layers": ("--layers", "b.*=0.3", ["b.*=0.3"]),
    "scope": ("--scope", "layer", "layer"),
    "policy": ("--policy", "group", "group"),
    "tune": ("--tune", "epochs=3", {"epochs": 3}),
    "seed": ("--seed", "5", 5),
}


@pytest.mark.parametrize("command", ["lambda", "percent"])
@pytest.mark.parametrize("name", PASSED_ON)
def test_an_option_that_applies_reaches_the_pipeline(
    started: list[dict[str, Any]], command: str, name: str
) -> None:
    flag, text, value = PASSED_ON[name]
    invoke(command, flag, text)
    assert started[0][name] == value


def test_a_lambda_sweep_prunes_by_the_users_percent_or_budget(started: list[dict[str, Any]]) -> None:
    invoke("lambda", "--percent", "0.7")
    invoke("lambda", "--target", "flops=0.5")
    assert [arguments["percent"] for arguments in started] == ["0.7", "0.5"]
    assert [arguments["target"] for arguments in started] == [{}, {"flops": 0.5}]


def test_a_percent_sweep_has_one_strength_and_a_point_for_each_percent(
    started: list[dict[str, Any]],
) -> None:
    invoke("percent", "--percents", "0.1, 0.5,dead", "--total-shrinkage", "3")
    (arguments,) = started
    assert arguments["percents"] == ["0.1", "0.5", "dead"]
    assert presets.stage("digits", "sparse", arguments["sparse"]).total_shrinkage == 3


REFUSED = {
    "base": ["--base", "epochs=3"],
    "passes": ["--passes", "3"],
    "max_error_increase": ["--max-error-increase", "2"],
    "baseline": ["--no-baseline"],
    "cache": ["--cache"],
    "lambda": ["--lambda", "1e-4"],
    "total_shrinkage": ["--total-shrinkage", "2"],
    "percent": ["--percent", "0.5"],
    "target": ["--target", "flops=0.5"],
}
BY_BOTH = ("base", "passes", "max_error_increase", "baseline", "cache")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((command, name) for command in ("lambda", "percent") for name in BY_BOTH),
        ("lambda", "lambda"),
        ("lambda", "total_shrinkage"),
        ("percent", "percent"),
        ("percent", "target"),
    ],
)
def test_an_option_that_a_sweep_would_ignore_is_refused(
    started: list[dict[str, Any]], command: str, name: str
) -> None:
    result = invoke(command, *REFUSED[name])
    assert isinstance(result.exception, ConfigError)
    assert result.exception.field == name
    assert f"does not apply to `netslim sweep {command}`, because " in str(result.exception)
    assert started == []


def test_it_is_refused_in_a_config_file_too(started: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("passes: 3\n")
    result = invoke("lambda", "--config", str(tmp_path / "run.yaml"))
    assert isinstance(result.exception, ConfigError)
    assert result.exception.field == "passes"


@pytest.mark.parametrize("command", ["lambda", "percent"])
def test_every_option_reaches_the_sweep_or_is_refused(command: str) -> None:
    """What is left over decides where and how the run takes place, or how strong lambda is."""
    from netslim_kfp.pipelines.sweeps.pipeline import lambda_inputs, percent_inputs

    inputs = {"lambda": lambda_inputs, "percent": percent_inputs}[command]()
    refused = {"lambda": sweep.REFUSED_BY_LAMBDA, "percent": sweep.REFUSED_BY_PERCENT}[command]
    options = {field.alias or name for name, field in RunConfig.model_fields.items()}
    elsewhere = {"gpus", "graphs", "deterministic", "runner", "output", "cache"}
    elsewhere |= {"tracking_uri", "strict_tracking", "name"}
    strength = {"lambda", "total_shrinkage"}  # part of the input `sparse`, where they are not refused
    assert options - set(inputs) - set(refused) - elsewhere - strength == set()
    assert not set(inputs) & set(refused)


def test_help_lists_only_what_applies() -> None:
    shown = invoke("lambda", "--help").output
    assert "--passes" not in shown
    assert "--min-channels" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["lambda", "--lambdas", "1e-3;1e-4"], "lambdas = 1e-3;1e-4: not numbers with commas between"),
        (["percent", "--percents", "0.5,1"], "percent = 1"),
    ],
)
def test_points_that_are_no_numbers_are_refused(options: list[str], message: str) -> None:
    result = invoke(*options)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
