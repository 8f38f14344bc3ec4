"""All options of a run in one object: the command line, config files and the pipeline inputs come from it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
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
from netslim.pruning.options import Policy, PruningOptions, Scope, option_table, parse_ratio
from netslim.steps.gpu_check import EXPECTED
from netslim_kfp.pipelines.config_errors import config_error, shown

__all__ = ["MAX_PASSES", "OLD_NAMES", "RunConfig", "parse_percent"]

MAX_PASSES = 6  # the paper's Table 4; more would outgrow the cluster's limit on one Workflow object
MAX_SEED = 2**53  # KFP passes numbers as 64-bit floats, which hold whole numbers up to this
OLD_NAMES = {"lam": "lambda", "pull": "total_shrinkage", "max_loss": "max_error_increase"}
"""Names of options in 0.1.0. They keep working, in files and on the command line."""

STRENGTHS = ("lambda", "total_shrinkage", "lam", "pull")
"""The strength of the L1 term in a recipe, by every name; a recipe has one of them."""

PRUNING = option_table()

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
    plain = value if isinstance(value, str | int | float) else shown(value)
    ratio = parse_ratio(shown(value) if isinstance(value, bool) else plain)
    return float(ratio) if isinstance(ratio, Fraction) else "dead"


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
        default="",
        description="vgg19, resnet164, densenet40, mlp, ..., any torchvision classifier, or "
        "package.module:factory. The default depends on the dataset.",
        examples=["resnet18"],
    )
    model_args: Changes = Field(
        default_factory=dict, description="Arguments of the model.", examples=[{"depth": 56}]
    )
    dataset: str = Field(
        default="digits",
        description="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, imagenet or folder.",
        examples=["cifar10"],
    )
    data_root: str = Field(
        default="", description="Folder or s3:// prefix with the dataset's files.", examples=["photos/"]
    )
    download: bool = Field(default=False, description="Download missing files into the data root.")
    validation: int = Field(
        default=0,
        ge=0,
        description="Images held out of training for choosing; the paper holds out 5000 of CIFAR-10.",
        examples=[5000],
    )
    image_size: int = Field(
        default=0,
        ge=0,
        description="Scale and crop images to this many pixels; 0 keeps their size.",
        examples=[64],
    )
    dataset_title: str = Field(
        default="", description="The dataset's name in tables, where it differs.", examples=["our photos"]
    )
    preset: str = Field(
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
        default=PRUNING["min_channels"].default, ge=1, description=PRUNING["min_channels"].help, examples=[4]
    )
    channel_multiple: int = Field(
        default=PRUNING["channel_multiple"].default,
        ge=1,
        description=PRUNING["channel_multiple"].help,
        examples=[8],
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
        default=0, ge=0, le=MAX_SEED, description="Of weights, order, augmentation and splits.", examples=[1]
    )
    gpus: int | None = Field(
        default=None,
        ge=0,
        description="GPUs to train on, one process on each; 0 for the CPU. The default is 1 where there "
        "is one.",
        examples=[0],
    )
    runner: Literal["subprocess", "docker"] = Field(
        default="subprocess", description="Run steps as processes or in containers."
    )
    output: Annotated[Path, Field(strict=False)] = Field(
        default=Path("netslim-runs"),
        description="Folder for results, cache and logs.",
        examples=["netslim-runs"],
    )
    tracking_uri: str = Field(
        default="",
        description="MLflow server. By default an SQLite file in the output folder.",
        examples=["http://127.0.0.1:5000"],
    )
    cache: bool = Field(default=True, description="Reuse the results of unchanged steps.")

    @model_validator(mode="wrap")
    @classmethod
    def _report_in_our_words(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise config_error(error, cls) from None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.pruning()  # refuses a budget that is no budget
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
        if self.target or self.percent == "dead" or cap is None or self.percent < cap:
            return []
        relation = "equals" if self.percent == cap else "is above"
        outcome = "can prune" if self.percent == cap else "prunes"
        return [
            f"percent = {self.percent:g} {relation} max_layer_percent = {cap:g}: no pass prunes more than "
            f"{cap:g} of a layer, so a pass {outcome} less than {self.percent:g} of all channels."
        ]

    def pruning(self) -> PruningOptions:
        """The options of the pruning step."""
        return PruningOptions(
            percent=self.percent,
            target=dict(self.target),
            scope=self.scope,
            policy=self.policy,
            max_layer_percent=self.max_layer_percent,
            min_channels=self.min_channels,
            channel_multiple=self.channel_multiple,
        )

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

        `max_loss` is the name that the input had in 0.1.0: KFP has no aliases for inputs.
        """
        pruning = self.pruning().to_inputs()
        del pruning["compensate"]  # always done; only studies of the method leave it out
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
            "sparse": self._sparse(),
            "tune": dict(self.tune),
            **pruning,
            "passes": self.passes,
            "max_loss": self.max_error_increase,
            "seed": self.seed,
            "experiment": self.experiment,
        }

    def _sparse(self) -> dict[str, Any]:
        """The changes of the recipe for sparse training; a strength that is an option wins over theirs."""
        strength = {"lambda": self.lambda_, "total_shrinkage": self.total_shrinkage}
        given = {name: value for name, value in strength.items() if value is not None}
        return given | {
            name: value for name, value in self.sparse.items() if not (given and name in STRENGTHS)
        }
