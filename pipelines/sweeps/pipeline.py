"""The paper's two studies, as pipelines over the same steps: how strong the L1 term, and how much to prune.

Every point of a sweep ends in `evaluate`, as a pass does, and becomes a child run in MLflow; `finish` puts
the points side by side. Choose by the validation error: the test error is for reporting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfp import dsl

from netslim_kfp.pipelines.cluster.platform import PlaceTask, no_placement
from netslim_kfp.pipelines.inputs import Inputs, pipeline
from netslim_kfp.pipelines.run_config import RunConfig
from netslim_kfp.pipelines.tasks import Tasks

__all__ = ["LAMBDA", "PERCENT", "build_lambda", "build_percent", "lambda_inputs", "percent_inputs"]

LAMBDA, PERCENT = "lambda-search", "percent-study"  # the names of the pipelines

NOT_IN_A_SWEEP = frozenset({"base", "passes", "max_loss"})
"""Inputs of a run that no sweep has: it has no baseline and no passes."""


def lambda_inputs() -> dict[str, Any]:
    """The inputs of the lambda sweep with their defaults; `strengths`, a list, has none.

    `points` is the number of different strengths, by which the last evaluation finds that the sweep has
    ended; 0 leaves that to the step `finish`.
    """
    return {"strengths": list, "points": 0, **_shared(RunConfig(validation=200), without=NOT_IN_A_SWEEP)}


def percent_inputs() -> dict[str, Any]:
    """The inputs of the percent sweep with their defaults; `percents`, a list, has none."""
    return {
        "percents": list,
        "points": 0,
        **_shared(RunConfig(), without=NOT_IN_A_SWEEP | {"percent", "target"}),
    }


def build_lambda(*, place: PlaceTask = no_placement, parallel: int = 1) -> Callable[..., Any]:
    """The search for lambda (paper, section 4.3): train, prune and fine-tune with each strength.

    Each of the `strengths` is a text such as "lambda=0.0001" or "total_shrinkage=2", because a KFP backend
    passes each item of a loop as text.

    Args:
        place: gives each step its resources on a cluster (netslim_kfp.pipelines.cluster.platform).
        parallel: points at a time. On one machine it is one, because two trainings at once would share one
            GPU or the cores of a laptop.
    """

    def lambda_search(inputs: Inputs) -> None:
        tasks = Tasks(inputs, place, title)
        with tasks.ending("lambda-search-points"):
            data = tasks.prepare()
            with dsl.ParallelFor(items=inputs.strengths, parallelism=parallel, name="lambda") as strength:
                sparse = tasks.train(
                    data, stage="sparse", recipe=inputs.sparse, pass_index=1, strength=strength
                )
                _measure_point(
                    tasks, data, sparse, point="lambda", percent=inputs.percent, target=inputs.target
                )

    return pipeline(
        lambda_search,
        name=LAMBDA,
        description="Which strength of the L1 term gives the lowest error?",
        inputs=lambda_inputs(),
    )


def build_percent(*, place: PlaceTask = no_placement, parallel: int = 1) -> Callable[..., Any]:
    """The study of the pruned percentage (paper, Figure 5): prune one sparse network by each percent.

    Args:
        place, parallel: as `build_lambda` takes them.
    """

    def percent_study(inputs: Inputs) -> None:
        tasks = Tasks(inputs, place, title)
        with tasks.ending("percent-study-points"):
            data = tasks.prepare()
            sparse = tasks.train(data, stage="sparse", recipe=inputs.sparse, pass_index=1)
            wide = tasks.export(data, sparse, pass_index=1, step="export wide ONNX")
            with dsl.ParallelFor(items=inputs.percents, parallelism=parallel, name="percent") as percent:
                _measure_point(tasks, data, sparse, point="percent", wide=wide, percent=percent)

    return pipeline(
        percent_study,
        name=PERCENT,
        description="How much can be pruned before the error rises?",
        inputs=percent_inputs(),
    )


def title(pass_index: int, step: str) -> str:
    """The title of a step on screen; a sweep has no passes."""
    return step


def _measure_point(
    tasks: Tasks, data: Any, sparse: Any, *, point: str, wide: Any = None, **share: Any
) -> None:
    """Prune the network `sparse`, fine-tune and measure it, as one point of the sweep over `point`.

    Args:
        wide: the exported `sparse`, where all points share it: latencies are compared with it.
    """
    slim = tasks.prune(data, sparse, pass_index=1, **share)
    tuned = tasks.fine_tune(data, slim, pass_index=1)
    tasks.measure(data, tuned, pass_index=1, passes=1, point=point, points=tasks.inputs.points, wide=wide)


def _shared(config: RunConfig, *, without: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in config.pipeline_arguments().items() if name not in without}
