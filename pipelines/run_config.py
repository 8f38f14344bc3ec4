"""All options of a run in one object: the command line, config files and the pipeline inputs come from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from netslim.errors import ConfigError
from netslim.pruning.budget import Target
from netslim.steps.gpu_check import EXPECTED
from netslim_kfp.pipelines.config_errors import config_error, shown

__all__ = ["MAX_PASSES", "NO_CAP", "RunConfig", "parse_percent"]

MAX_PASSES = 6  # the paper's Table 4; more would outgrow the cluster's limit on one Workflow object
MAX_SEED = 2**53  # KFP passes numbers as 64-bit floats, which hold whole numbers up to this
NO_CAP = 1.0
"""`max_layer_percent` as a pipeline input where there is no cap: a KFP input cannot be null."""

PRESET_OF_DATASET = {
    "digits": "digits",
    "mnist": "mnist",
    "fashion-mnist": "mnist",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "svhn": "svhn",
}
MODEL_OF_PRESET = {
    "digits": "vgg-digits",
    "mnist": "mlp",
    "cifar": "vgg19",
    "svhn": "vgg19",
    "imagenet": "vgg-a",
}


def parse_percent(value: object) -> float | Literal["dead"]:
    """`value` as a share of channels in [0, 1), or the word `dead`. Text is read as a number.

    Raises:
        ConfigError: it is neither.
    """
    if value == "dead":
        return "dead"
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(
            "neither a number nor the word dead",
            field="percent",
            value=shown(value),
            remedy="Write 0.5 to prune half of all channels",
        ) from None
    if not 0 <= share < 1:
        remedy = f"Write {share / 100:g} for {share:g} %" if 1 < share < 100 else "Write 0.5 to prune half"
        raise ConfigError(
            "must be at least 0 and below 1, because no network is left at 1",
            field="percent",
            value=share,
            remedy=remedy,
        )
    return share


Share = Annotated[float, Field(ge=0, lt=1)] | Literal["dead"]
Percent = Annotated[Share, BeforeValidator(parse_percent, json_schema_input_type=Share)]
Changes = Mapping[str, JsonValue]
"""Changes of single values: of a recipe's fields, or of a model's arguments."""


class RunConfig(BaseModel):
    """A slimming run. Every field is an option of `netslim run` and a key of its `--config` file.

    `preset` follows from the dataset and `model` from the preset when they are left empty. The descriptions
    below are the help of the command line; the first of `examples` is the remedy for a wrong value.

    Raises:
        ConfigError: a value has the wrong type or is out of range, or two options contradict each other.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_by_name=True
    )

    model: str = Field(
        "",
        description="vgg19, resnet164, densenet40, mlp, ..., any torchvision classifier, or "
        "package.module:factory. The default depends on the dataset.",
        examples=["resnet18"],
    )
    model_args: Changes = Field(
        default_factory=dict, description="Arguments of the model.", examples=[{"depth": 56}]
    )
    dataset: str = Field(
        "digits",
        description="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, imagenet or folder.",
        examples=["cifar10"],
    )
    data_root: str = Field(
        "", description="Folder or s3:// prefix with the dataset's files.", examples=["photos/"]
    )
    download: bool = Field(False, description="Download missing files into the data root.")
    validation: int = Field(
        0,
        ge=0,
        description="Images held out of training for choosing; the paper holds out 5000 of CIFAR-10.",
        examples=[5000],
    )
    image_size: int = Field(
        0, ge=0, description="Scale and crop images to this many pixels; 0 keeps their size.", examples=[64]
    )
    dataset_title: str = Field(
        "", description="The dataset's name in tables, where it differs.", examples=["our photos"]
    )
    preset: str = Field(
        "",
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
        None,
        alias="lambda",
        ge=0,
        description="Weight of the L1 term on the scaling factors; the paper takes 1e-4 for VGG and 1e-5 for "
        "ResNet and DenseNet.",
        examples=[0.0001],
    )
    total_shrinkage: float | None = Field(
        None,
        ge=0,
        description="The same weight as lambda x sum(learning rates) / (1 - momentum), which means the "
        "same in a short and in a long training.",
        examples=[2.0],
    )
    percent: Percent = Field(
        0.5,
        description="Share of all channels that a pass prunes, or `dead` for those whose scaling factor "
        "is at zero.",
        examples=[0.5],
    )
    target: Mapping[str, float] = Field(
        default_factory=dict,
        description="A budget instead of a percent, as a share of flops, params or macs.",
        examples=[{"flops": 0.5}],
    )
    scope: Literal["global", "layer"] = Field(
        "global", description="Rank all channels together, or prune the same percent of each layer."
    )
    policy: Literal["auto", "group", "select"] = Field(
        "auto", description="How channels that are tied together are pruned."
    )
    max_layer_percent: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Cap: the largest share of one layer that a pass prunes; the paper's multi-pass scheme "
        "takes 0.5. By default there is no cap.",
        examples=[0.5],
    )
    min_channels: int = Field(1, ge=1, description="Fewest channels that a layer keeps.", examples=[4])
    channel_multiple: int = Field(
        1, ge=1, description="Round the width of each layer up to a multiple of this.", examples=[8]
    )
    passes: int = Field(
        3, ge=1, le=MAX_PASSES, description=f"Slimming passes, 1 to {MAX_PASSES}.", examples=[3]
    )
    max_error_increase: float = Field(
        1.0,
        ge=0,
        description="Stop when the error is this many percentage points above the baseline's.",
        examples=[1.0],
    )
    baseline: bool = Field(True, description="Also train and measure the network without slimming.")
    seed: int = Field(
        0, ge=0, le=MAX_SEED, description="Of weights, order, augmentation and splits.", examples=[1]
    )
    gpus: int | None = Field(
        None,
        ge=0,
        description="GPUs to train on, one process on each; 0 for the CPU. The default is 1 where there "
        "is one.",
        examples=[0],
    )
    runner: Literal["subprocess", "docker"] = Field(
        "subprocess", description="Run steps as processes or in containers."
    )
    output: Annotated[Path, Field(strict=False)] = Field(
        Path("netslim-runs"), description="Folder for results, cache and logs.", examples=["netslim-runs"]
    )
    tracking_uri: str = Field(
        "",
        description="MLflow server. By default an SQLite file in the output folder.",
        examples=["http://127.0.0.1:5000"],
    )
    cache: bool = Field(True, description="Reuse the results of unchanged steps.")

    @model_validator(mode="wrap")
    @classmethod
    def _report_in_our_words(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise config_error(error, cls) from None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.target:
            Target.parse(self.target)
        if self.lambda_ is not None and self.total_shrinkage is not None:
            raise ConfigError(
                "lambda and total_shrinkage both set the strength of the L1 term",
                field="total_shrinkage",
                value=self.total_shrinkage,
                remedy="Give one of them",
            )
        preset = self.preset or PRESET_OF_DATASET.get(self.dataset, "imagenet")
        object.__setattr__(self, "preset", preset)  # the object is frozen for everybody else
        object.__setattr__(self, "model", self.model or MODEL_OF_PRESET.get(preset, "vgg19"))
        return self

    @property
    def given(self) -> list[str]:
        """The options that were given, by file or command line, in the order of the fields."""
        return [
            field.alias or name
            for name, field in type(self).model_fields.items()
            if name in self.model_fields_set
        ]

    @property
    def warnings(self) -> list[str]:
        """What a user should read before and after the run, one sentence each."""
        cap = self.max_layer_percent
        if self.target or self.percent == "dead" or cap is None or self.percent <= cap:
            return []
        return [
            f"percent = {self.percent:g} is above max_layer_percent = {cap:g}: no pass prunes more than "
            f"{cap:g} of a layer, so a pass prunes less than {self.percent:g} of all channels."
        ]

    @property
    def experiment(self) -> str:
        """The MLflow experiment: runs on one dataset are compared with each other."""
        return f"netslim/{self.dataset}"

    def environment(self) -> dict[str, str]:
        """Environment variables for the steps of a run on this machine. They change no result.

        On a cluster they come from the profile.
        """
        if self.gpus is None:
            return {}
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.gpus == 0 else {}
        return {EXPECTED: str(self.gpus), **hidden}

    def pipeline_arguments(self) -> dict[str, Any]:
        """The values of the compiled pipeline's inputs, by the inputs' names, each of a type that KFP has.

        `max_loss` and `percent` as text are the inputs of 0.1.0; KFP knows no aliases for inputs.
        """
        strength = {"lam": self.lambda_, "pull": self.total_shrinkage}
        given = {name: value for name, value in strength.items() if value is not None}
        return {
            "model": self.model,
            "model_args": dict(self.model_args),
            "dataset": self.dataset,
            "data_root": self.data_root,
            "download": self.download,
            "validation": self.validation,
            "image_size": self.image_size,
            "dataset_title": self.dataset_title,
            "preset": self.preset,
            "base": dict(self.base),
            "sparse": {**self.sparse, **given},
            "tune": dict(self.tune),
            "percent": str(self.percent),
            "target": dict(self.target),
            "scope": self.scope,
            "policy": self.policy,
            "max_layer_percent": NO_CAP if self.max_layer_percent is None else self.max_layer_percent,
            "min_channels": self.min_channels,
            "channel_multiple": self.channel_multiple,
            "passes": self.passes,
            "max_loss": self.max_error_increase,
            "seed": self.seed,
            "experiment": self.experiment,
        }
