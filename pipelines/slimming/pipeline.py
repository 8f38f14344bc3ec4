"""The multi-pass pipeline: baseline, then pass after pass of sparse training, pruning and fine-tuning.

Passes are unrolled when the pipeline is compiled, as nested conditions, because KFP has no loop in which an
iteration can use the results of the one before (docs/decisions.md). Each pass exports, measures and logs its
network, so a run that stops early or fails late keeps the results of its earlier passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfp import dsl

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cluster.platform import PlaceTask, no_placement
from netslim_kfp.pipelines.inputs import Inputs, pipeline
from netslim_kfp.pipelines.run_config import MAX_PASSES, RunConfig
from netslim_kfp.pipelines.tasks import Tasks

__all__ = ["NAME", "build"]

NAME = "network-slimming"


def build(
    max_passes: int = 3, *, baseline: bool = True, place: PlaceTask = no_placement
) -> Callable[..., Any]:
    """Make the pipeline function for up to `max_passes` passes, 1 to 6. Its inputs are those of RunConfig.

    Args:
        max_passes: passes that are compiled; the input `passes` asks for at most so many.
        baseline: train and measure the network without slimming as pass 0. Without it errors are compared
            with those of the first sparse training, and fine-tuning has no teacher.
        place: gives each step its resources on a cluster (netslim_kfp.pipelines.cluster.platform).

    Raises:
        ConfigError: `max_passes` is out of range.
    """
    if not 1 <= max_passes <= MAX_PASSES:
        remedy = f"Use 1 to {MAX_PASSES}; for more, start a run from the last one's model (docs/guide.md)"
        raise ConfigError("out of range", field="passes", value=max_passes, remedy=remedy)

    def slimming(inputs: Inputs) -> None:
        tasks = Tasks(inputs, place, title)

        def measure(pass_index: int, network: Any, results: Any = None) -> Any:
            return tasks.measure(
                data,
                network,
                pass_index=pass_index,
                # No pass follows the last one compiled here, however many the user asks for.
                passes=inputs.passes if pass_index < max_passes else max_passes,
                max_error_increase=inputs.max_loss,
                **({} if results is None else {"previous": results}),
            )

        def one_pass(pass_index: int, start: Any, results: Any, teacher: Any) -> None:
            sparse = tasks.train(
                data,
                stage="sparse",
                recipe=inputs.sparse,
                pass_index=pass_index,
                start=start,
                experiment=inputs.experiment,
            )
            slim = tasks.prune(
                data, sparse, pass_index=pass_index, percent=inputs.percent, target=inputs.target
            )
            tuned = tasks.fine_tune(data, slim, pass_index=pass_index, teacher=teacher)
            measured = measure(pass_index, tuned, results)
            if pass_index < max_passes:
                with dsl.If(measured.outputs["Output"] == True, name=f"pass-{pass_index + 1}"):  # noqa: E712
                    one_pass(pass_index + 1, tuned, measured.outputs["results"], teacher)

        with tasks.ending("slimming"):
            data = tasks.prepare()
            results = teacher = None
            if baseline:
                teacher = tasks.train(
                    data, stage="base", recipe=inputs.base, pass_index=0, experiment=inputs.experiment
                )
                results = measure(0, teacher).outputs["results"]
            one_pass(1, None, results, teacher)

    return pipeline(
        slimming,
        name=NAME,
        description="A wide CNN goes in, a slim ONNX model comes out, pass after pass.",
        inputs=RunConfig().pipeline_arguments(),
    )


def title(pass_index: int, step: str) -> str:
    """The title of a step on screen: `pass 2: prune`."""
    return f"baseline: {step}" if pass_index == 0 else f"pass {pass_index}: {step}"
