"""The one object that holds what a user can say about a run, from flags or from a YAML file."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from netslim.errors import ConfigError
from netslim.steps.gpu_check import EXPECTED
from netslim_kfp.pipelines.slimming.pipeline import MAX_PASSES
from netslim_kfp.pipelines.yaml_numbers import read_yaml

__all__ = ["RunConfig", "load"]

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
    "imagenet": "vgg_a",
}
CHOICES = {
    "scope": ("global", "layer"),
    "policy": ("auto", "group", "select"),
    "runner": ("subprocess", "docker"),
}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A slimming run. Every field is an option of `netslim run` and a key of its `--config` file.

    `preset` follows from the dataset and `model` from the preset when they are left empty. `base`, `sparse`
    and `tune` change single values of the preset's recipes for the three kinds of training. `gpus` is how
    many a training gets, a process on each; None for one if there is one, or what a cluster's profile says.

    Raises:
        ConfigError: a value is out of range, or two options contradict each other.
    """

    model: str = ""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = "digits"
    data_root: str = ""
    download: bool = False
    validation: int = 0
    image_size: int = 0
    dataset_title: str = ""
    preset: str = ""
    base: Mapping[str, Any] = field(default_factory=dict)
    sparse: Mapping[str, Any] = field(default_factory=dict)
    tune: Mapping[str, Any] = field(default_factory=dict)
    lam: float | None = None
    pull: float | None = None
    percent: float | str = 0.5
    target: Mapping[str, float] = field(default_factory=dict)
    scope: str = "global"
    policy: str = "auto"
    max_layer_percent: float = 0.5
    min_channels: int = 1
    channel_multiple: int = 1
    passes: int = 3
    max_loss: float = 1.0
    baseline: bool = True
    seed: int = 0
    gpus: int | None = None
    runner: str = "subprocess"
    output: Path = Path("netslim-runs")
    tracking_uri: str = ""
    cache: bool = True

    def __post_init__(self) -> None:
        preset = self.preset or PRESET_OF_DATASET.get(self.dataset, "imagenet")
        object.__setattr__(self, "preset", preset)
        object.__setattr__(self, "model", self.model or MODEL_OF_PRESET.get(preset, "vgg19"))
        object.__setattr__(self, "output", Path(self.output))
        object.__setattr__(self, "percent", checked_percent(self.percent))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    "unknown choice",
                    field=name,
                    value=getattr(self, name),
                    remedy=f"Choose one of {', '.join(choices)}",
                )
        self._check_numbers()
        if self.lam is not None and self.pull is not None:
            raise ConfigError(
                "lambda and pull both set the strength of the sparsity term",
                field="pull",
                value=self.pull,
                remedy="Give one of them",
            )

    def _check_numbers(self) -> None:
        at_least = {
            "validation": 0,
            "image_size": 0,
            "min_channels": 1,
            "channel_multiple": 1,
            "passes": 1,
            "max_loss": 0,
            "seed": 0,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
                raise ConfigError(f"must be a number of at least {least}", field=name, value=value)
            if name != "max_loss" and value != int(value):
                raise ConfigError("must be a whole number", field=name, value=value)
        if self.gpus is not None and (type(self.gpus) is not int or self.gpus < 0):
            remedy = "Write 0 to train on the CPU"
            raise ConfigError(
                "must be a whole number of at least 0", field="gpus", value=self.gpus, remedy=remedy
            )
        if self.passes > MAX_PASSES:
            remedy = f"Ask for at most {MAX_PASSES}, as many as the paper's Table 4"
            raise ConfigError(
                "too many passes for one pipeline", field="passes", value=self.passes, remedy=remedy
            )
        if not 0 < self.max_layer_percent <= 1:
            raise ConfigError(
                "must be above 0 and at most 1",
                field="max_layer_percent",
                value=self.max_layer_percent,
                remedy="The paper's multi-pass scheme takes 0.5",
            )
        for name in ("lam", "pull"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ConfigError(
                    "must be a number of at least 0",
                    field=name,
                    value=value,
                    remedy="The paper takes lambda = 1e-4 for VGG, 1e-5 for ResNet and DenseNet",
                )

    @property
    def experiment(self) -> str:
        """The MLflow experiment: runs over one dataset are compared with each other."""
        return f"netslim/{self.dataset}"

    def environment(self) -> dict[str, str]:
        """What the steps of a run on this machine are told by their environment: it changes no result.

        On a cluster the profile says it.
        """
        if self.gpus is None:
            return {}
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.gpus == 0 else {}
        return {EXPECTED: str(self.gpus), **hidden}

    def pipeline_arguments(self) -> dict[str, Any]:
        """The values of the compiled pipeline's inputs."""
        strength = {"lam": self.lam} if self.lam is not None else {}
        strength |= {"pull": self.pull} if self.pull is not None else {}
        return {
            "model": self.model,
            "model_args": dict(self.model_args),
            "dataset": self.dataset,
            "data_root": self.data_root,
            "download": self.download,
            "validation": int(self.validation),
            "image_size": int(self.image_size),
            "dataset_title": self.dataset_title,
            "preset": self.preset,
            "base": dict(self.base),
            "sparse": {**self.sparse, **strength},
            "tune": dict(self.tune),
            "percent": str(self.percent),
            "target": dict(self.target),
            "scope": self.scope,
            "policy": self.policy,
            "max_layer_percent": float(self.max_layer_percent),
            "min_channels": int(self.min_channels),
            "channel_multiple": int(self.channel_multiple),
            "passes": int(self.passes),
            "max_loss": float(self.max_loss),
            "seed": int(self.seed),
            "experiment": self.experiment,
        }


def checked_percent(value: float | str) -> float | str:
    """`value` as a share of channels in [0, 1), or the word `dead`.

    Raises:
        ConfigError: it is neither.
    """
    if value == "dead":
        return "dead"
    try:
        share = float(value)
    except (TypeError, ValueError):
        raise ConfigError(
            "neither a number nor the word dead",
            field="percent",
            value=value,
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


def load(path: str | Path | None, options: Mapping[str, Any]) -> RunConfig:
    """The config of a YAML file, with the options given on the command line winning over it.

    Raises:
        ConfigError: the file cannot be read, or it has a key that is no option.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = read_yaml(Path(path).read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror})", field="config", value=str(path)
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"not valid YAML ({error})", field="config", value=str(path)) from error
        if not isinstance(values, dict):
            raise ConfigError("must hold `option: value` lines", field="config", value=str(path))
    known = [item.name for item in dataclasses.fields(RunConfig)]
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    values = {"lam" if name == "lambda" else name: value for name, value in values.items()}
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}"
            raise ConfigError("unknown option", field=str(path), value=name, remedy=remedy.rstrip("?."))
    return RunConfig(**{**values, **options})
