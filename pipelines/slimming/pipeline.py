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
from netslim_kfp.pipelines.tasks import Measurement, Tasks

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

        def measure(pass_index: int, network: Any, results: Any = None, wide: Any = None) -> Measurement:
            return tasks.measure(
                data,
                network,
                pass_index=pass_index,
                wide=wide,
                # No pass follows the last one compiled here, however many the user asks for.
                passes=inputs.passes if pass_index < max_passes else max_passes,
                max_error_increase=inputs.max_loss,
                **({} if results is None else {"previous": results}),
            )

        def one_pass(pass_index: int, start: Any, results: Any, teacher: Any, wide: Any) -> None:
            sparse = tasks.train(
                data,
                stage="sparse",
                recipe=inputs.sparse,
                pass_index=pass_index,
                start=start,
                experiment=inputs.experiment,
            )
            if wide is None:  # without a baseline: the network that the first pass prunes
                wide = tasks.export(data, sparse, pass_index=pass_index, step="export wide ONNX")
            slim = tasks.prune(
                data, sparse, pass_index=pass_index, percent=inputs.percent, target=inputs.target
            )
            tuned = tasks.fine_tune(data, slim, pass_index=pass_index, teacher=teacher)
            measured = measure(pass_index, tuned, results, wide)
            if pass_index < max_passes:
                with dsl.If(measured.continues == True, name=f"pass-{pass_index + 1}"):  # noqa: E712
                    one_pass(pass_index + 1, tuned, measured.results, teacher, wide)

        with tasks.ending("slimming"):
            data = tasks.prepare()
            results = teacher = wide = None
            if baseline:
                teacher = tasks.train(
                    data, stage="base", recipe=inputs.base, pass_index=0, experiment=inputs.experiment
                )
                measured = measure(0, teacher)
                results, wide = measured.results, measured.onnx
            one_pass(1, None, results, teacher, wide)

    return pipeline(
        slimming,
        name=NAME,
        description="A wide CNN goes in, a slim ONNX model comes out, pass after pass.",
        inputs=RunConfig().pipeline_arguments(),
    )


def title(pass_index: int, step: str) -> str:
    """The title of a step on screen: `pass 2: prune`."""
    return f"baseline: {step}" if pass_index == 0 else f"pass {pass_index}: {step}"
