"""The JSON schema that editors use accepts what `--config` accepts, and refuses what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.run import run
from netslim_kfp.pipelines.config_file import load
from netslim_kfp.pipelines.config_schema import config_schema
from netslim_kfp.pipelines.yaml_numbers import read_yaml

STORED = Path(__file__).parents[2] / "docs" / "run-config.schema.json"


def accepts(values: Any) -> bool:
    validator = jsonschema.Draft202012Validator(json.loads(config_schema()))
    return bool(validator.is_valid(values))


def test_the_stored_schema_is_the_present_one() -> None:
    assert STORED.read_text(encoding="utf-8") == config_schema(), "run `make schema`"


def test_the_command_line_prints_it() -> None:
    assert CliRunner().invoke(run, ["--config-schema"]).output == config_schema()


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("dataset: cifar10\npercent: 0.7\npasses: 2\n", True),
        ("percent: dead\n", True),
        ("max-layer-percent: 0.5\nlambda: 1e-4\n", True),
        ("lam: 1e-4\nmax-loss: 2\n", True),
        ("gpus:\n", True),
        ("target: {flops: 0.5}\nsparse: {epochs: 3}\n", True),
        ("precent: 0.5\n", False),
        ("percent: 1\n", False),
        ("percent: true\n", False),
        ("passes: 7\n", False),
        ("cache: 'false'\n", False),
        ("policy: guess\n", False),
        ("min-channels: 0\n", False),
        ("target: {flops: half}\n", False),
        ("max_layer_percent: 0\n", False),
        ("max_layer_percent: 1.5\n", False),
    ],
)
def test_editors_and_the_command_line_agree(text: str, right: bool, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert accepts(read_yaml(text)) == right
    try:
        load(tmp_path / "run.yaml", {})
    except ConfigError:
        assert not right
    else:
        assert right


def test_old_names_are_marked_as_deprecated() -> None:
    properties = json.loads(config_schema())["properties"]
    deprecated = {name for name, values in properties.items() if values.get("deprecated")}
    assert deprecated == {"lam", "pull", "max_loss", "max-loss"}
    assert all("description" in values for name, values in properties.items() if "$ref" not in values)
