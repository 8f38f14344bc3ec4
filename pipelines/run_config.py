"""The config of a run: its options, what follows from them, and the inputs of the pipeline."""

from __future__ import annotations

import time
from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator

from netslim.errors import ConfigError
from netslim.pruning.options import PruningOptions
from netslim.steps.gpu_check import DETERMINISTIC, EXPECTED, GRAPHS
from netslim_kfp.pipelines.config_errors import config_error
from netslim_kfp.pipelines.run_options import MAX_PASSES, OLD_NAMES, RunOptions, parse_percent

__all__ = ["MAX_PASSES", "OLD_NAMES", "RunConfig", "parse_percent"]

STRENGTHS = ("lambda", "total_shrinkage", "lam", "pull")
"""The strength of the L1 term in a recipe, by every name; a recipe has one of them."""

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


class RunConfig(RunOptions):
    """A slimming run.

    `preset` follows from the dataset and `model` from the preset when they are left empty.

    Raises:
        ConfigError: a value has the wrong type or is out of range, or two options contradict each other.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _report_in_our_words(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise config_error(error, cls) from None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.pruning()  # refuses a target that is not a valid budget
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
        if cap is None:
            return []
        shares = [
            f"layers = {pattern}={share:g} is above max_layer_percent = {cap:g}: no pass prunes more than "
            f"{cap:g} of a layer."
            for pattern, share in self.layers.items()
            if share > cap
        ]
        if self.target or self.percent == "dead" or self.percent < cap:
            return shares
        relation = "equals" if self.percent == cap else "is above"
        outcome = "can prune" if self.percent == cap else "prunes"
        return [
            f"percent = {self.percent:g} {relation} max_layer_percent = {cap:g}: no pass prunes more than "
            f"{cap:g} of a layer, so a pass {outcome} less than {self.percent:g} of all channels.",
            *shares,
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
            keep=self.keep,
            layers=self.layers,
        )

    @property
    def experiment(self) -> str:
        """The MLflow experiment: runs on one dataset are compared with each other."""
        return f"netslim/{self.dataset}"

    def environment(self) -> dict[str, str]:
        """Environment variables for the steps of a run on this machine. They change rounding at most.

        On a cluster they come from the profile.
        """
        variables: dict[str, str] = {}
        if self.gpus is not None:
            variables[EXPECTED] = str(self.gpus)
        if self.gpus == 0:
            variables["CUDA_VISIBLE_DEVICES"] = ""
        if not self.graphs:
            variables[GRAPHS] = "off"
        if self.deterministic:
            variables |= {DETERMINISTIC: "on", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        return variables

    def run_name(self) -> str:
        """The name of a run that starts now."""
        return self.name or f"{self.model}-{self.dataset}-{time.strftime('%Y%m%d-%H%M%S')}"

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
