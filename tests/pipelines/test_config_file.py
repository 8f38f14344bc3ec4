"""Config files: which spellings are read, which files are refused, and that the command line wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from netslim.errors import ConfigError
from netslim_kfp.pipelines.config_file import load
from netslim_kfp.pipelines.run_config import RunConfig

OF_0_1_0 = """\
dataset: mnist
model: mlp
percent: 0.8
lam: 0.001
max-layer-percent: 0.9
max_loss: 2
sparse: {epochs: 3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def test_flags_win_over_the_file(file: Path) -> None:
    file.write_text("dataset: mnist\npercent: 0.8\nlambda: 1e-3\nsparse: {epochs: 3}\n")
    config = load(file, {"percent": "0.7"})
    assert (config.dataset, config.percent, config.lambda_) == ("mnist", 0.7, 0.001)
    assert config.pipeline_arguments()["sparse"] == {"epochs": 3, "lambda": 0.001}


def test_a_file_of_0_1_0_is_read(file: Path) -> None:
    file.write_text(OF_0_1_0)
    assert load(file, {}) == RunConfig(
        dataset="mnist",
        model="mlp",
        percent=0.8,
        max_layer_percent=0.9,
        max_error_increase=2,
        sparse={"epochs": 3},
        **{"lambda": 0.001},
    )
    file.write_text("pull: 2\n")
    assert load(file, {}).total_shrinkage == 2


@pytest.mark.parametrize("spelling", ["max_error_increase", "max-error-increase", "max_loss", "max-loss"])
def test_hyphens_underscores_and_old_names_are_the_same_option(file: Path, spelling: str) -> None:
    file.write_text(f"{spelling}: 2\n")
    assert load(file, {}).max_error_increase == 2
    assert load(file, {"max_error_increase": 3}).max_error_increase == 3
    assert load(file, {"max_loss": 3}).max_error_increase == 3


def test_an_empty_file_is_a_run_with_the_defaults(file: Path) -> None:
    file.write_text("# nothing\n")
    assert load(file, {}) == load(None, {}) == RunConfig()


def test_defaults_that_are_merged_may_be_overridden(file: Path) -> None:
    file.write_text("base: &usual {epochs: 3, lr: 0.1}\ntune: {<<: *usual, epochs: 1}\n")
    assert load(file, {}).tune == {"epochs": 1, "lr": 0.1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precent: 0.5\n", r"precent = 0\.5: unknown option\. Did you mean percent"),
        ("- a\n- b\n", r"config = .*run\.yaml: must hold `option: value` lines\. Write for example"),
        ("just words\n", "must hold `option: value` lines"),
        ("a: [1,\n", "not valid YAML"),
        ("when: 2026-13-01\n", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("percent: 0.5\npercent: 0.7\n", r"percent: is given twice in .*, the second time in line 2"),
        ("sparse:\n  epochs: 1\n  epochs: 2\n", r"epochs: is given twice in .*, the second time in line 3"),
        ("lam: 1e-4\nlambda: 1e-5\n", r"lambda = .*: lam and lambda are the same option\. Give one of them"),
        (
            "min-channels: 2\nmin_channels: 3\n",
            r"min_channels = 3: min-channels and min_channels are the same",
        ),
        ("max_loss: 1\nmax_error_increase: 1\n", r"max_loss and max_error_increase are the same option"),
        ("1: 2\n", r"1: the name of an option must be text"),
        ("on: 2\n", r"true: the name of an option must be text"),
        ("cache: 'false'\n", r"cache = 'false': must be true or false"),
        ("passes:\n", r"passes = null: must be a whole number\. Write for example passes: 3"),
    ],
)
def test_a_wrong_file_is_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(file, {})


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path, {})
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path / "binary.yaml", {})
