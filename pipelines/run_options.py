"""All options of a run: each with its type, its range, its default and its help."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from netslim.pruning.options import Policy, Scope, option_table
from netslim.pruning.shares import parse_ratio, parse_shares
from netslim_kfp.pipelines.config_errors import shown

__all__ = ["MAX_IMAGE_SIZE", "MAX_PASSES", "OLD_NAMES", "RunOptions", "parse_percent"]

MAX_PASSES = 6  # the paper's Table 4; more would outgrow the cluster's limit on one Workflow object
MAX_WHOLE = 2**53  # KFP passes numbers as 64-bit floats, which hold whole numbers up to this
MAX_IMAGE_SIZE = 8192  # netslim.data.image_file.MAX_SIDE, which needs numpy
OLD_NAMES = {"lam": "lambda", "pull": "total_shrinkage", "max_loss": "max_error_increase"}
"""Names of options in 0.1.0. They keep working, in files and on the command line."""

PRUNING = option_table()


def parse_percent(value: object) -> float | Literal["dead"]:
    """`value` as a share of channels in [0, 1), or the word `dead`. Text is read as a number.

    Raises:
        ConfigError: it is neither.
    """
    plain = value if isinstance(value, str | int | float) else shown(value)
    ratio = parse_ratio(shown(value) if isinstance(value, bool) else plain)
    return float(ratio) if isinstance(ratio, Fraction) else "dead"


def parse_layers(value: object) -> dict[str, float]:
    """The shares of layers in the order in which they are given: a mapping, or texts PATTERN=SHARE.

    Raises:
        ConfigError: a pattern or a share is wrong.
    """
    if not isinstance(value, Mapping | list | tuple):
        raise PydanticCustomError("dict_type", "must be a mapping")
    return {pattern: float(share) for pattern, share in parse_shares(value).items()}


def parse_keep(value: object) -> object:
    """One pattern as a tuple of it, and a list as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def check_text(value: str) -> str:
    """`value`, if it can be printed and written: it may come from a file name that is not UTF-8."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise PydanticCustomError("unprintable", "has characters that cannot be shown")
    return value


def check_folder(value: object) -> object:
    """`value`, if it is not an empty text, which would mean the working folder."""
    if isinstance(value, str | Path):
        if not str(value):
            raise PydanticCustomError("empty", "must not be empty")
        check_text(str(value))
    return value


Text = Annotated[str, AfterValidator(check_text)]
Folder = Annotated[Path, Field(strict=False), BeforeValidator(check_folder, json_schema_input_type=Path)]
Share = Annotated[float, Field(ge=0, lt=1)] | Literal["dead"]
Percent = Annotated[Share, BeforeValidator(parse_percent, json_schema_input_type=Share)]
OwnShare = Annotated[float, Field(ge=0, lt=1)]
Layers = Annotated[
    Mapping[str, float], BeforeValidator(parse_layers, json_schema_input_type=Mapping[str, OwnShare])
]
Keep = Annotated[tuple[Text, ...], BeforeValidator(parse_keep, json_schema_input_type=list[str] | str)]
Changes = Mapping[str, JsonValue]
"""Changes of single values: of a recipe's fields, or of a model's arguments."""


class RunOptions(BaseModel):
    """The options. Every field is an option of `netslim run` and a key of its `--config` file.

    The descriptions are the help of the command line, and the first of `examples` is the remedy for a wrong
    value. RunConfig adds what follows from the options.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_by_name=True
    )

    model: Text = Field(
        default="",
        description="vgg19, resnet164, densenet40, mlp, ..., any torchvision classifier, or "
        "package.module:factory, whose Python code is imported and run. The default depends on the dataset.",
        examples=["resnet18"],
    )
    model_args: Changes = Field(
        default_factory=dict, description="Arguments of the model.", examples=[{"depth": 56}]
    )
    dataset: Text = Field(
        default="digits",
        description="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, imagenet or folder.",
        examples=["cifar10"],
    )
    data_root: Text = Field(
        default="", description="Folder or s3:// prefix with the dataset's files.", examples=["photos/"]
    )
    download: bool = Field(default=False, description="Download missing files into the data root.")
    validation: int = Field(
        default=0,
        ge=0,
        le=MAX_WHOLE,
        description="Images held out of training for choosing; the paper holds out 5000 of CIFAR-10.",
        examples=[5000],
    )
    image_size: int = Field(
        default=0,
        ge=0,
        le=MAX_IMAGE_SIZE,
        description="Scale and crop images to this many pixels; 0 keeps their size.",
        examples=[64],
    )
    dataset_title: Text = Field(
        default="", description="The dataset's name in tables, where it differs.", examples=["our photos"]
    )
    preset: Text = Field(
        default="",
        description="Training recipe: digits, cifar, svhn, imagenet or mnist. The default depends on "
        "the dataset.",
        examples=["cifar"],
    )
    base: Changes = Field(
        default_factory=dict, description="Changes of the baseline's recipe.", examples=[{"epochs": 40}]
    )
    sparse: Changes = Field(
        default_factory=dict,
        description="Changes of the recipe for sparse training.",
        examples=[{"epochs": 40}],
    )
    tune: Changes = Field(
        default_factory=dict, description="Changes of the recipe for fine-tuning.", examples=[{"epochs": 20}]
    )
    lambda_: float | None = Field(
        default=None,
        alias="lambda",
        ge=0,
        description="Weight of the L1 term on the scaling factors; the paper takes 1e-4 for VGG and 1e-5 for "
        "ResNet and DenseNet.",
        examples=[0.0001],
    )
    total_shrinkage: float | None = Field(
        default=None,
        ge=0,
        description="The same weight as lambda x sum(learning rates) / (1 - momentum), which means the "
        "same in a short and in a long training.",
        examples=[2.0],
    )
    percent: Percent = Field(
        default=PRUNING["percent"].default, description=PRUNING["percent"].help, examples=[0.5]
    )
    target: Mapping[str, float] = Field(
        default_factory=dict, description=PRUNING["target"].help, examples=[{"flops": 0.5}]
    )
    scope: Scope = Field(default=PRUNING["scope"].default, description=PRUNING["scope"].help)
    policy: Policy = Field(default=PRUNING["policy"].default, description=PRUNING["policy"].help)
    max_layer_percent: float | None = Field(
        default=PRUNING["max_layer_percent"].default,
        gt=0,
        le=1,
        description=PRUNING["max_layer_percent"].help,
        examples=[0.5],
    )
    min_channels: int = Field(
        default=PRUNING["min_channels"].default,
        ge=1,
        le=MAX_WHOLE,
        description=PRUNING["min_channels"].help,
        examples=[4],
    )
    channel_multiple: int = Field(
        default=PRUNING["channel_multiple"].default,
        ge=1,
        le=MAX_WHOLE,
        description=PRUNING["channel_multiple"].help,
        examples=[8],
    )
    keep: Keep = Field(
        default=PRUNING["keep"].default, description=PRUNING["keep"].help, examples=[["layer4.*"]]
    )
    layers: Layers = Field(
        default_factory=dict, description=PRUNING["layers"].help, examples=[{"layer4.*": 0.3}]
    )
    passes: int = Field(
        default=3, ge=1, le=MAX_PASSES, description=f"Slimming passes, 1 to {MAX_PASSES}.", examples=[3]
    )
    max_error_increase: float = Field(
        default=1.0,
        ge=0,
        description="Stop when the error is this many percentage points above the baseline's.",
        examples=[1.0],
    )
    baseline: bool = Field(default=True, description="Also train and measure the network without slimming.")
    seed: int = Field(
        default=0, ge=0, le=MAX_WHOLE, description="Of weights, order, augmentation and splits.", examples=[1]
    )
    gpus: int | None = Field(
        default=None,
        ge=0,
        description="GPUs to train on, one process on each; 0 for the CPU. The default is 1 where there "
        "is one.",
        examples=[0],
    )
    graphs: bool = Field(
        default=True,
        description="On a GPU, run training steps as CUDA graphs where possible; the weights are the same.",
    )
    deterministic: bool = Field(
        default=False,
        description="On a GPU, use deterministic algorithms: slower, and bit-identical from run to run.",
    )
    runner: Literal["subprocess", "docker"] = Field(
        default="subprocess", description="Run steps as processes or in containers."
    )
    output: Folder = Field(
        default=Path("netslim-runs"),
        description="Folder for results, cache and logs.",
        examples=["netslim-runs"],
    )
    tracking_uri: Text = Field(
        default="",
        description="MLflow server. By default an SQLite file in the output folder.",
        examples=["http://127.0.0.1:5000"],
    )
    strict_tracking: bool = Field(
        default=False,
        description="Fail (exit code 6) when MLflow did not accept all results; they are kept in any case.",
    )
    name: Text = Field(
        default="",
        description="The run's name in MLflow and KFP. By default the model, the dataset and the time.",
        examples=["vgg, half of the FLOPs"],
    )
    cache: bool = Field(default=True, description="Reuse the results of unchanged steps.")
