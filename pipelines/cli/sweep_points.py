"""The two sweeps: their pipelines, their points, and the options of a run that do not apply to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from netslim.errors import ConfigError
from netslim_kfp.pipelines.config_errors import shown
from netslim_kfp.pipelines.run_config import RunConfig, parse_percent

__all__ = [
    "LAMBDAS",
    "PERCENTS",
    "REFUSED_BY_LAMBDA",
    "REFUSED_BY_PERCENT",
    "Sweep",
    "lambda_sweep",
    "percent_sweep",
    "refuse",
]

LAMBDAS, PERCENTS = "1e-3,1e-4,1e-5", "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"  # the paper's
NO_PASSES = "a sweep has no baseline and no passes"
EACH_POINT = "each point of the sweep has its own"
REFUSED = {
    "base": NO_PASSES,
    "passes": NO_PASSES,
    "max_error_increase": NO_PASSES,
    "baseline": NO_PASSES,
}
REFUSED_BY_LAMBDA = {**REFUSED, "lambda": EACH_POINT, "total_shrinkage": EACH_POINT}
REFUSED_BY_PERCENT = {**REFUSED, "percent": EACH_POINT, "target": EACH_POINT}
HELD_OUT = {"cifar10": 5000, "cifar100": 5000, "svhn": 6000, "mnist": 5000, "fashion-mnist": 5000}
HELD_OUT_ELSEWHERE = 200


@dataclass(frozen=True)
class Sweep:
    """A sweep to run: `build` makes its pipeline function, `arguments` are the values of its inputs.

    `config` is the user's, with images held out where the sweep chooses by them.
    """

    name: str
    build: Callable[..., Any]
    arguments: dict[str, Any]
    config: RunConfig


def lambda_sweep(config: RunConfig, command: str, *, lambdas: str = LAMBDAS, shrinkages: str = "") -> Sweep:
    """The search for lambda over a text such as "1e-3,1e-4", or over total shrinkages.

    Args:
        command: for messages, such as `netslim sweep lambda`.

    Raises:
        ConfigError: a text has no numbers, or an option was given that the sweep would ignore.
    """
    from netslim_kfp.pipelines.sweeps.pipeline import LAMBDA, build_lambda, lambda_inputs

    refuse(config, REFUSED_BY_LAMBDA, command)
    if not config.validation:  # lambda is chosen on images that neither train nor test the network
        config = config.model_copy(update={"validation": HELD_OUT.get(config.dataset, HELD_OUT_ELSEWHERE)})
    if shrinkages:
        strengths = [f"total_shrinkage={value!r}" for value in _numbers("total_shrinkages", shrinkages)]
    else:
        strengths = [f"lambda={value!r}" for value in _numbers("lambdas", lambdas)]
    return Sweep(LAMBDA, build_lambda, _arguments(lambda_inputs(), config, strengths=strengths), config)


def percent_sweep(config: RunConfig, command: str, *, percents: str = PERCENTS) -> Sweep:
    """The study of the pruned percentage over a text such as "0.1,0.5".

    Args:
        command: for messages, such as `netslim sweep percent`.

    Raises:
        ConfigError: a part is not a percent, or an option was given that the sweep would ignore.
    """
    from netslim_kfp.pipelines.sweeps.pipeline import PERCENT, build_percent, percent_inputs

    refuse(config, REFUSED_BY_PERCENT, command)
    values = [str(parse_percent(value.strip())) for value in percents.split(",")]
    return Sweep(PERCENT, build_percent, _arguments(percent_inputs(), config, percents=values), config)


def refuse(config: RunConfig, refused: Mapping[str, str], command: str) -> None:
    """Check that no option was given, by file or command line, that the sweep would ignore.

    Args:
        refused: the reason for each option that does not apply.

    Raises:
        ConfigError: one was given.
    """
    for name in config.given:
        if reason := refused.get(name):
            value = getattr(config, "lambda_" if name == "lambda" else name)
            problem = f"does not apply to `{command}`, because {reason}"
            value = dict(value) if isinstance(value, Mapping) else value
            raise ConfigError(problem, field=name, value=shown(value), remedy="Leave it out")


def _arguments(inputs: Mapping[str, Any], config: RunConfig, **points: list[str]) -> dict[str, Any]:
    """The values of a sweep pipeline's `inputs`: those of the run, and the points of the sweep."""
    different = {_label(text) for texts in points.values() for text in texts}
    values = {**config.pipeline_arguments(), **points, "points": len(different)}
    return {name: values[name] for name in inputs}


def _label(text: str) -> str:
    """What distinguishes a point in MLflow: its number with three digits, as in the name of its run."""
    number = text.rpartition("=")[2]
    return number if number == "dead" else f"{float(number):.3g}"


def _numbers(option: str, text: str) -> list[float]:
    """The numbers of a text such as "1e-3,1e-4".

    Raises:
        ConfigError: a part of it is not a number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            "not numbers with commas between", field=option, value=text, remedy="Write 1e-3,1e-4"
        ) from None
