"""The options of the command line are the fields of RunConfig, and old flags still work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.compile import compile_
from netslim_kfp.pipelines.cli.options import LOCAL, config_from, pairs, run_options
from netslim_kfp.pipelines.cli.run import run
from netslim_kfp.pipelines.cli.submit import submit
from netslim_kfp.pipelines.cli.sweep import sweep
from netslim_kfp.pipelines.run_config import RunConfig

FIELDS = {field.alias or name: field for name, field in RunConfig.model_fields.items()}


@click.command()
@run_options()
def show(**options: Any) -> None:
    config = config_from(options)
    click.echo(
        repr({name: getattr(config, "lambda_" if name == "lambda" else name) for name in config.given})
    )


def shown(*options: str) -> Result:
    return CliRunner().invoke(show, options)


GIVEN = {  # an option as it is typed, and the value that the config has
    "model": (["--model", "resnet18"], "resnet18"),
    "model_args": (["--model-arg", "depth=56", "--model-arg", "wide=true"], {"depth": 56, "wide": True}),
    "dataset": (["--dataset", "cifar10"], "cifar10"),
    "data_root": (["--data-root", "photos"], "photos"),
    "download": (["--download"], True),
    "validation": (["--validation", "5"], 5),
    "image_size": (["--image-size", "64"], 64),
    "dataset_title": (["--dataset-title", "ours"], "ours"),
    "preset": (["--preset", "svhn"], "svhn"),
    "base": (["--base", "lr=1e-1", "--base", "epochs=2"], {"lr": 0.1, "epochs": 2}),
    "sparse": (["--sparse", "epochs=2"], {"epochs": 2}),
    "tune": (["--tune", "epochs=2"], {"epochs": 2}),
    "lambda": (["--lambda", "1e-4"], 1e-4),
    "total_shrinkage": (["--total-shrinkage", "2"], 2.0),
    "percent": (["--percent", "0.7"], 0.7),
    "target": (["--target", "flops=0.5"], {"flops": 0.5}),
    "scope": (["--scope", "layer"], "layer"),
    "policy": (["--policy", "select"], "select"),
    "max_layer_percent": (["--max-layer-percent", "0.5"], 0.5),
    "min_channels": (["--min-channels", "4"], 4),
    "channel_multiple": (["--channel-multiple", "8"], 8),
    "keep": (["--keep", "layer4.*", "--keep", "stem"], ("layer4.*", "stem")),
    "layers": (["--layers", "b-1.*=0.3", "--layers", "b-1.bn=0"], {"b-1.*": 0.3, "b-1.bn": 0.0}),
    "passes": (["--passes", "2"], 2),
    "max_error_increase": (["--max-error-increase", "2.5"], 2.5),
    "baseline": (["--no-baseline"], False),
    "seed": (["--seed", "7"], 7),
    "gpus": (["--gpus", "0"], 0),
    "graphs": (["--no-graphs"], False),
    "deterministic": (["--deterministic"], True),
    "runner": (["--runner", "docker"], "docker"),
    "output": (["--output", "runs"], Path("runs")),
    "tracking_uri": (["--tracking-uri", "http://host:5000"], "http://host:5000"),
    "strict_tracking": (["--strict-tracking"], True),
    "name": (["--name", "a study"], "a study"),
    "cache": (["--no-cache"], False),
}


@pytest.fixture(autouse=True)
def without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_every_option_is_tried_below() -> None:
    assert list(GIVEN) == list(FIELDS)


@pytest.mark.parametrize("name", GIVEN)
def test_an_option_reaches_the_config_and_no_other_does(name: str) -> None:
    options, value = GIVEN[name]
    result = shown(*options)
    assert result.exit_code == 0, result.exception
    assert result.output.strip() == repr({name: value})


@pytest.mark.parametrize(
    ("old", "new"), [("--pull", "total_shrinkage"), ("--max-loss", "max_error_increase")]
)
def test_a_flag_of_0_1_0_works_and_is_hidden(old: str, new: str) -> None:
    assert shown(old, "2").output.strip() == repr({new: 2.0})
    assert old not in shown("--help").output
    both = shown(old, "2", f"--{new.replace('_', '-')}", "2")
    assert isinstance(both.exception, ConfigError)
    assert "are the same option" in str(both.exception)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("max-loss: 3\npasses: 2\n")
    result = shown("--config", str(tmp_path / "run.yaml"), "--max-error-increase", "5")
    assert result.output.strip() == repr({"passes": 2, "max_error_increase": 5.0})


def test_pairs_are_read_as_yaml() -> None:
    assert pairs("base", ("epochs=20", "lr=1e-1", "milestones=[0.3, 0.6]", "nesterov=false")) == {
        "epochs": 20,
        "lr": 0.1,
        "milestones": [0.3, 0.6],
        "nesterov": False,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("epochs",), "base = epochs: not of the form NAME=VALUE. Write epochs=20"),
        (("=20",), "base = =20: not of the form NAME=VALUE"),
        (("a=1", "a=2"), "base = a=2: a is given twice"),
        (("a=[1",), "base = a=.1: not a YAML value"),
    ],
)
def test_a_wrong_pair_is_refused(values: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pairs("base", values)


def test_a_cluster_has_the_same_options_but_for_those_of_this_machine() -> None:
    names = {option.name for option in submit.params}
    # The steps get the tracking server's address from the cluster; here it is for the table at the end.
    assert set(FIELDS) - names == LOCAL - {"tracking_uri"}


@pytest.mark.parametrize(
    "command", [run, submit, compile_, sweep.commands["lambda"], sweep.commands["percent"]]
)
def test_every_visible_option_has_a_help_text(command: click.Command) -> None:
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    assert options
    assert all(option.help and option.help.rstrip(" ]")[-1] not in ",;:" for option in options)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "compile", "submit", "sweep lambda", "sweep percent"])
def test_the_commands_answer_outside_the_repository(command: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "netslim", *command.split(), "--help"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: python -m netslim {command} ")
