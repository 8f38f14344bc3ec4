"""The config of a run: its defaults, what depends on what, and one clear error for each wrong value."""

from __future__ import annotations

import datetime
import math
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netslim.errors import ConfigError
from netslim_kfp.pipelines.run_config import MAX_PASSES, RunConfig
from netslim_kfp.pipelines.run_options import MAX_IMAGE_SIZE

FIELDS = {field.alias or name: field for name, field in RunConfig.model_fields.items()}
WRONG: dict[str, Any] = {  # by the YAML that has such a value
    "null": None,
    "true": True,
    "'false'": "false",
    "7": 7,
    "2.5": 2.5,
    ".nan": math.nan,
    ".inf": math.inf,
    "[1]": [1],
    "{1: 2}": {1: 2},
    "{a: 2020-01-01}": {"a": datetime.date(2020, 1, 1)},
    "{a: .nan}": {"a": math.nan},
    "2020-01-01": datetime.date(2020, 1, 1),
    "!!binary": b"x",
    "!!set": {"x"},
}
# The types of 0.1.0, where a wrong one ended in a traceback; `str` is also the type of paths.
TYPES: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "model_args": dict,
    "dataset": str,
    "data_root": str,
    "download": bool,
    "validation": int,
    "image_size": int,
    "dataset_title": str,
    "preset": str,
    "base": dict,
    "sparse": dict,
    "tune": dict,
    "lambda": (float, int, type(None)),
    "total_shrinkage": (float, int, type(None)),
    "percent": (),
    "target": (),
    "scope": (),
    "policy": (),
    "max_layer_percent": type(None),
    "min_channels": int,
    "channel_multiple": int,
    "keep": str,
    "layers": (),
    "passes": (),
    "max_error_increase": (float, int),
    "baseline": bool,
    "seed": int,
    "gpus": (int, type(None)),
    "graphs": bool,
    "deterministic": bool,
    "runner": (),
    "output": str,
    "tracking_uri": str,
    "strict_tracking": bool,
    "name": str,
    "cache": bool,
}


def fits(option: str, value: object) -> bool:
    """Whether `value` has the type of the option, worked out from TYPES alone."""
    if isinstance(value, bool):
        return TYPES[option] is bool
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, dict):
        return False  # each of those above holds what no option may hold
    kinds = TYPES[option]
    return isinstance(value, kinds) if kinds else False


def test_the_types_above_name_every_option() -> None:
    assert list(TYPES) == list(FIELDS)


@pytest.mark.parametrize("yaml", WRONG)
@pytest.mark.parametrize("option", FIELDS)
def test_a_wrong_type_is_one_clear_error(option: str, yaml: str) -> None:
    value = WRONG[yaml]
    if fits(option, value):
        RunConfig(**{option: value})
        return
    with pytest.raises(ConfigError) as caught:
        RunConfig(**{option: value})
    error = caught.value
    assert error.exit_code == 2
    assert error.field is not None
    assert error.field.split(".")[0] == option
    assert error.value is not None
    assert error.remedy
    assert "\n" not in str(error)
    assert "validation error" not in str(error)


@pytest.mark.parametrize("option", FIELDS)
def test_the_example_of_a_remedy_is_a_right_value(option: str) -> None:
    for example in FIELDS[option].examples or []:
        RunConfig(**{option: example})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"cache": "false"},
            r"cache = 'false': must be true or false\. Write true or false, without quotes\.",
        ),
        ({"baseline": "no"}, r"baseline = 'no': must be true or false"),
        ({"max_layer_percent": True}, r"max_layer_percent = true: must be a number\. Write for example"),
        ({"percent": 1.0}, r"percent = 1.0: must be a share from 0 .*Nothing would be left at 1"),
        ({"percent": 50}, r"percent = 50: .* Write 0.5 for 50 %"),
        ({"percent": -0.1}, r"percent = -0.1"),
        ({"percent": "half"}, r"percent = half: must be a share .* or the word dead"),
        ({"lambda": -1e-4}, r"lambda = -0.0001: must be at least 0\. Write for example lambda: 0.0001"),
        ({"lambda": math.inf}, r"lambda = \.inf: must be a finite number"),
        (
            {"lambda": 1e-4, "total_shrinkage": 2},
            r"total_shrinkage = 2.0: lambda and total_shrinkage both set",
        ),
        ({"target": {"flop": 0.5}}, r"target = flop: unknown measure"),
        ({"target": {"flops": 0.0}}, r"target = flops=0"),
        ({"target": {"flops": "half"}}, r"target\.flops = half: must be a number"),
        ({"passes": 0}, r"passes = 0: must be at least 1"),
        ({"passes": 7}, r"passes = 7: must be at most 6\. Write for example passes: 3"),
        ({"passes": 2.5}, r"passes = 2.5: must be a whole number"),
        ({"max_layer_percent": 0}, r"max_layer_percent = 0: must be above 0"),
        ({"max_layer_percent": 1.5}, r"max_layer_percent = 1.5: must be at most 1"),
        ({"channel_multiple": 0}, r"channel_multiple = 0: must be at least 1"),
        ({"keep": [""]}, r"keep = '': must be names of layers, or patterns .* Write for example \["),
        ({"keep": ["a", 1]}, r"keep\.1 = 1: must be text\. Write for example keep: \[layer4\.\*\]"),
        ({"keep": {"a": 1}}, r"keep = \{a: 1\}: must be a list of texts"),
        (
            {"layers": {"a.*": 1.5}},
            r"layers = a\.\*=1\.5: must be a share from 0 .* 1\. Write 0\.015 for 1\.5 %",
        ),
        ({"layers": "a"}, r"layers = a: must be a mapping of names to values\. Write for example layers: \{"),
        ({"layers": ["a"]}, r"layers = a: not of the form PATTERN=SHARE\. Write backbone\.\*=0\.3"),
        ({"seed": -1}, r"seed = -1: must be at least 0"),
        ({"seed": 2**60}, r"seed = \d+: must be at most 9007199254740992"),
        ({"policy": "guess"}, r"policy = guess: unknown choice\. Choose one of auto, group, select\."),
        ({"runner": "argo"}, r"runner = argo: unknown choice\. Choose one of subprocess, docker\."),
        ({"max_error_increase": -1}, r"max_error_increase = -1: must be at least 0"),
        ({"gpus": -1}, r"gpus = -1: must be at least 0\. Write for example gpus: 0"),
        ({"base": {"epochs": math.nan}}, r"base\.epochs = \.nan: must be a finite number"),
        ({"image_size": 10**9}, r"image_size = 1000000000: must be at most 8192"),
        ({"validation": 10**20}, r"validation = 10+: must be at most 9007199254740992"),
        ({"min_channels": 10**20}, r"min_channels = 10+: must be at most"),
        ({"output": ""}, r"output = '': must not be empty\. Write for example output: netslim-runs"),
        ({"output": Path("a\0b")}, r"output = .*: has characters that cannot be shown"),
        ({"data_root": "photos\0"}, r'data_root = "photos\\0": has characters that cannot be shown'),
        ({"data_root": "d\udcff"}, r"data_root = .*: has characters that cannot be shown"),
        ({"dataset_title": "\x1b[31mred"}, r'dataset_title = "\\e\[31mred": has characters that cannot'),
        ({"precent": 0.5}, r"precent = 0.5: unknown option\. Did you mean percent"),
        ({"nothing_like_it": 0.5}, r"nothing_like_it = 0.5: unknown option\. .*model, model_args, dataset"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(**values)


def test_the_largest_image_size_is_that_of_the_data() -> None:
    from netslim.data.image_file import MAX_SIDE

    assert MAX_IMAGE_SIZE == MAX_SIDE


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().passes = 2  # type: ignore[misc]


def test_a_bare_run_is_the_demo() -> None:
    arguments = RunConfig().pipeline_arguments()
    assert [arguments[name] for name in ("model", "dataset", "preset")] == ["vgg-digits", "digits", "digits"]
    assert (arguments["passes"], arguments["percent"]) == (3, "0.5")


@pytest.mark.parametrize(
    ("dataset", "preset", "model"),
    [
        ("mnist", "mnist", "mlp"),
        ("cifar100", "cifar", "vgg19"),
        ("svhn", "svhn", "vgg19"),
        ("folder", "imagenet", "vgg-a"),
    ],
)
def test_preset_and_model_follow_from_the_dataset(dataset: str, preset: str, model: str) -> None:
    config = RunConfig(dataset=dataset)
    assert (config.preset, config.model) == (preset, model)
    assert config.given == ["dataset"]


def test_the_options_that_were_given_are_known_also_when_they_equal_the_default() -> None:
    assert RunConfig(passes=3, **{"lambda": None}).given == ["lambda", "passes"]


def test_without_a_cap_the_pipeline_gets_the_share_that_caps_nothing() -> None:
    assert RunConfig().pipeline_arguments()["max_layer_percent"] == 1.0
    assert RunConfig(max_layer_percent=0.25).pipeline_arguments()["max_layer_percent"] == 0.25


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({"percent": 0.7, "max_layer_percent": 0.5}, "percent = 0.7 is above max_layer_percent = 0.5"),
        ({"percent": 0.5, "max_layer_percent": 0.5}, "so a pass can prune less than 0.5 of all channels"),
        ({"percent": 0.4, "max_layer_percent": 0.5}, ""),
        ({"percent": 0.9}, ""),
        ({"percent": 0.9, "max_layer_percent": 1}, ""),
        ({"percent": "dead", "max_layer_percent": 0.5}, ""),
        ({"target": {"flops": 0.1}, "percent": 0.7, "max_layer_percent": 0.5}, ""),
        (
            {"layers": {"a": 0.5, "b": 0.6}, "percent": 0.2, "max_layer_percent": 0.5},
            "layers = b=0.6 is above",
        ),
        ({"layers": {"a": 0.9}}, ""),
    ],
)
def test_a_percent_that_a_cap_cannot_meet_has_a_warning(values: dict[str, Any], warned: str) -> None:
    warnings = RunConfig(**values).warnings
    assert len(warnings) == bool(warned)
    assert warned in "".join(warnings)


def test_the_strength_of_l1_joins_the_recipe_of_sparse_training() -> None:
    assert RunConfig(sparse={"epochs": 3}, **{"lambda": 0.001}).pipeline_arguments()["sparse"] == {
        "epochs": 3,
        "lambda": 0.001,
    }
    assert RunConfig(total_shrinkage=0).pipeline_arguments()["sparse"] == {"total_shrinkage": 0.0}


@pytest.mark.parametrize("name", ["lambda", "lam", "total_shrinkage", "pull"])
def test_a_strength_given_as_an_option_wins_over_that_of_the_recipe(name: str) -> None:
    config = RunConfig(sparse={name: 0.5, "epochs": 3}, total_shrinkage=2)
    assert config.pipeline_arguments()["sparse"] == {"epochs": 3, "total_shrinkage": 2.0}
    assert RunConfig(sparse={name: 0.5}).pipeline_arguments()["sparse"] == {name: 0.5}


def test_gpus_are_an_environment_variable_and_change_no_cache_key() -> None:
    assert RunConfig().environment() == {}
    assert RunConfig(gpus=4).environment() == {"NETSLIM_EXPECTED_GPUS": "4"}
    assert RunConfig(gpus=0).environment() == {"NETSLIM_EXPECTED_GPUS": "0", "CUDA_VISIBLE_DEVICES": ""}
    assert RunConfig(graphs=False).environment() == {"NETSLIM_GRAPHS": "off"}
    assert RunConfig(deterministic=True).environment() == {
        "NETSLIM_DETERMINISTIC": "on",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    assert RunConfig(gpus=4).pipeline_arguments() == RunConfig().pipeline_arguments()


def test_the_description_names_the_most_passes() -> None:
    assert typing.cast(str, FIELDS["passes"].description).endswith(f"1 to {MAX_PASSES}.")
    assert RunConfig(passes=MAX_PASSES, output="x").output == Path("x")
