"""What a command submits: a pipeline, the values of its inputs, and the resources of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netslim_kfp.pipelines.cli.input_notes import input_notes
from netslim_kfp.pipelines.cli.sweep_points import lambda_sweep, percent_sweep
from netslim_kfp.pipelines.cluster.platform import PlaceTask, placed_on
from netslim_kfp.pipelines.cluster.profiles import Profile
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.run_config import RunConfig
from netslim_kfp.pipelines.slimming.pipeline import NAME, build

__all__ = ["Plan", "plan_for"]


@dataclass(frozen=True)
class Plan:
    """A pipeline to compile for a cluster.

    Args:
        name: of the pipeline.
        build: makes the pipeline function from the function that places tasks.
        arguments: the values of its inputs.
        config: the user's options.
        profiles: the resources of each kind of step.
    """

    name: str
    build: Callable[[PlaceTask], Callable[..., Any]]
    arguments: dict[str, Any]
    config: RunConfig
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    def compile(self, file: Path, *, run_key: str = "") -> None:
        """Compile it to `file`; `run_key` is as `placed_on` takes it."""
        place = placed_on(self.profiles, run_key=run_key)
        compile_pipeline(self.build(place), file, cache=self.config.cache, notes=input_notes())


def plan_for(config: RunConfig, sweep: str | None, points: Mapping[str, str], parallel: int) -> Plan:
    """The plan of a run, or of the sweep `lambda` or `percent`.

    Args:
        points: the texts `lambdas`, `shrinkages` and `percents`.
        parallel: points of a sweep at a time, 0 for all.

    Raises:
        ConfigError: an option does not apply to the sweep, or a text has no points.
    """
    if sweep is None:

        def build_slimming(place: PlaceTask) -> Callable[..., Any]:
            return build(config.passes, baseline=config.baseline, place=place)

        return Plan(NAME, build_slimming, config.pipeline_arguments(), config)
    command = f"netslim submit --sweep {sweep}"
    if sweep == "lambda":
        chosen = lambda_sweep(config, command, lambdas=points["lambdas"], shrinkages=points["shrinkages"])
    else:
        chosen = percent_sweep(config, command, percents=points["percents"])

    def build_sweep(place: PlaceTask) -> Callable[..., Any]:
        return chosen.build(place=place, parallel=parallel)  # type: ignore[no-any-return]

    return Plan(chosen.name, build_sweep, chosen.arguments, chosen.config)
