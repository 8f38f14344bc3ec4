"""The multi-pass pipeline: baseline, then pass after pass of sparse training, pruning and fine-tuning.

Passes are unrolled when the pipeline is compiled, as nested conditions, because KFP has no loop whose
iterations can see each other (docs/decisions.md). Each pass is whole in itself: it exports, measures and
logs, so a run that stops early or fails late has lost nothing.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from netslim.errors import ConfigError
from netslim_kfp.components.evaluate.component import evaluate
from netslim_kfp.components.export_onnx.component import export_onnx
from netslim_kfp.components.fine_tune.component import fine_tune
from netslim_kfp.components.finish.component import finish
from netslim_kfp.components.prepare_data.component import prepare_data
from netslim_kfp.components.prune.component import prune
from netslim_kfp.components.train_sparse.component import train_sparse
from netslim_kfp.pipelines.cluster.platform import PlaceTask, no_placement

__all__ = ["MAX_PASSES", "NAME", "build"]

NAME = "network-slimming"
MAX_PASSES = 6  # the paper's Table 4; more would outgrow the cluster's limit on one Workflow object


def build(
    max_passes: int = 3, *, baseline: bool = True, place: PlaceTask = no_placement
) -> Callable[..., Any]:
    """Make the pipeline function for up to `max_passes` passes, 1 to 6.

    Without `baseline` pass 0 is left out: nothing is compared with, and fine-tuning has no teacher. `place`
    gives each step what it gets from a cluster (netslim_kfp.pipelines.cluster.platform).

    Raises:
        ConfigError: `max_passes` is out of range.
    """
    if not 1 <= max_passes <= MAX_PASSES:
        remedy = f"Ask for 1 to {MAX_PASSES}; to go on, start a run from the last one's model (docs/guide.md)"
        raise ConfigError("out of range", field="passes", value=max_passes, remedy=remedy)

    @dsl.pipeline(name=NAME, description="A wide CNN goes in, a slim ONNX model comes out, pass after pass.")
    def slimming(
        model: str = "vgg-digits",
        model_args: dict = {},
        dataset: str = "digits",
        data_root: str = "",
        download: bool = False,
        validation: int = 0,
        image_size: int = 0,
        dataset_title: str = "",
        preset: str = "digits",
        base: dict = {},
        sparse: dict = {},
        tune: dict = {},
        percent: str = "0.5",
        target: dict = {},
        scope: str = "global",
        policy: str = "auto",
        max_layer_percent: float = 0.5,
        min_channels: int = 1,
        channel_multiple: int = 1,
        passes: int = 3,
        max_loss: float = 1.0,
        seed: int = 0,
        experiment: str = "netslim/digits",
    ) -> None:
        def train(pass_index: int, recipe: Any, stage: str, start: Any = None) -> Any:
            fresh = {"architecture": model, "architecture_args": model_args}
            trained = train_sparse(
                dataset=data.output,
                stage=stage,
                preset=preset,
                recipe=recipe,
                seed=seed,
                pass_index=pass_index,
                experiment=experiment,
                **(fresh if start is None else {"start": start}),
            )
            what = "train" if stage == "base" else "train sparse"
            return place(trained).set_display_name(title(pass_index, what))

        def measure(pass_index: int, network: Any, ledger: Any = None) -> Any:
            previous = {} if ledger is None else {"previous": ledger}
            exported = export_onnx(dataset=data.output, start=network, pass_index=pass_index)
            place(exported).set_display_name(title(pass_index, "export ONNX"))
            measured = evaluate(
                dataset=data.output,
                onnx=exported.output,
                pass_index=pass_index,
                # No pass follows the last one compiled here, however many the user asks for.
                passes=passes if pass_index < max_passes else max_passes,
                max_loss=max_loss,
                experiment=experiment,
                **previous,
            )
            # It measures time, logs and decides: none of these may come from an earlier run.
            return place(measured).set_display_name(title(pass_index, "evaluate")).set_caching_options(False)

        def one_pass(pass_index: int, start: Any, ledger: Any, teacher: dict[str, Any]) -> None:
            trained = train(pass_index, sparse, "sparse", start)
            pruned = prune(
                dataset=data.output,
                start=trained.output,
                percent=percent,
                target=target,
                scope=scope,
                policy=policy,
                max_layer_percent=max_layer_percent,
                min_channels=min_channels,
                channel_multiple=channel_multiple,
                pass_index=pass_index,
            )
            place(pruned).set_display_name(title(pass_index, "prune"))
            tuned = fine_tune(
                dataset=data.output,
                start=pruned.output,
                preset=preset,
                recipe=tune,
                seed=seed,
                pass_index=pass_index,
                experiment=experiment,
                **teacher,
            )
            place(tuned).set_display_name(title(pass_index, "fine-tune"))
            measured = measure(pass_index, tuned.output, ledger)
            if pass_index < max_passes:
                with dsl.If(measured.outputs["Output"] == True, name=f"pass-{pass_index + 1}"):  # noqa: E712
                    one_pass(pass_index + 1, tuned.output, measured.outputs["ledger"], teacher)

        ending = place(finish(experiment=experiment)).set_display_name("finish").set_caching_options(False)
        with dsl.ExitHandler(ending, name="slimming"):
            data = prepare_data(
                name=dataset,
                root=data_root,
                download=download,
                validation=validation,
                size=image_size,
                title=dataset_title,
                seed=seed,
            )
            place(data).set_display_name("prepare data")
            ledger, teacher = None, {}
            if baseline:
                wide = train(0, base, "base")
                teacher = {"teacher": wide.output}
                ledger = measure(0, wide.output).outputs["ledger"]
            one_pass(1, None, ledger, teacher)

    return slimming


def title(pass_index: int, what: str) -> str:
    """How the step is called on screen: `pass 2: prune`."""
    return f"baseline: {what}" if pass_index == 0 else f"pass {pass_index}: {what}"
