"""The tasks that slimming and sweeps share: each step with its inputs, its place and its title."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from netslim.steps.run_constants import IMAGE_TAG
from netslim_kfp.components.evaluate.component import evaluate
from netslim_kfp.components.export_onnx.component import export_onnx
from netslim_kfp.components.fine_tune.component import fine_tune
from netslim_kfp.components.finish.component import finish
from netslim_kfp.components.images import image_tag
from netslim_kfp.components.prepare_data.component import prepare_data
from netslim_kfp.components.prune.component import prune
from netslim_kfp.components.train_sparse.component import train_sparse
from netslim_kfp.pipelines.cluster.platform import PlaceTask
from netslim_kfp.pipelines.inputs import Inputs

__all__ = ["Measurement", "Tasks"]

Task = Any  # a KFP task; kfp has no type information
Artifact = Any  # an output of a KFP task


@dataclass(frozen=True)
class Measurement:
    """What measuring a network gives: its ONNX model, the results so far, whether another pass follows."""

    onnx: Artifact
    results: Artifact
    continues: Any


@dataclass(frozen=True)
class Tasks:
    """Makes the tasks of one pipeline. Each method adds a task to the pipeline that is being compiled.

    Args:
        inputs: the pipeline's inputs.
        place: gives each task its resources on a cluster.
        title: the title of a task on screen, from its pass and its step.
    """

    inputs: Inputs
    place: PlaceTask
    title: Callable[[int, str], str]

    def ending(self, name: str) -> Any:
        """The context of all other tasks; when they have ended, well or not, `finish` closes the run."""
        task = self.place(finish(experiment=self.inputs.experiment))
        task.set_display_name("finish").set_caching_options(False)
        return dsl.ExitHandler(task, name=name)

    def prepare(self) -> Artifact:
        """The packed dataset."""
        given = self.inputs
        task = prepare_data(
            name=given.dataset,
            root=given.data_root,
            download=given.download,
            validation=given.validation,
            size=given.image_size,
            title=given.dataset_title,
            seed=given.seed,
        )
        return self.place(task).set_display_name("prepare data").output

    def train(
        self,
        data: Artifact,
        *,
        stage: str,
        recipe: Any,
        pass_index: int,
        start: Artifact = None,
        **settings: Any,
    ) -> Artifact:
        """A network trained on `data`, from `start` or, without it, from new weights.

        Args:
            stage: `base` for normal training, `sparse` for training with the L1 term.
            recipe: changes of the preset's recipe.
            settings: further inputs of the step `train_sparse`.
        """
        given = self.inputs
        origin = {"architecture_args": given.model_args} if start is None else {"start": start}
        task = train_sparse(
            dataset=data,
            stage=stage,
            preset=given.preset,
            recipe_overrides=recipe,
            seed=given.seed,
            pass_index=pass_index,
            architecture=given.model,
            **origin,
            **settings,
        )
        return self._titled(task, pass_index, "train" if stage == "base" else "train sparse").output

    def prune(self, data: Artifact, network: Artifact, *, pass_index: int, **share: Any) -> Artifact:
        """`network` with the channels of the lowest scaling factors removed.

        Args:
            share: the inputs `percent` and `target` of the step `prune`.
        """
        given = self.inputs
        task = prune(
            dataset=data,
            start=network,
            scope=given.scope,
            policy=given.policy,
            max_layer_percent=given.max_layer_percent,
            min_channels=given.min_channels,
            channel_multiple=given.channel_multiple,
            keep=given.keep,
            layers=given.layers,
            pass_index=pass_index,
            architecture=given.model,
            **share,
        )
        return self._titled(task, pass_index, "prune").output

    def fine_tune(
        self, data: Artifact, network: Artifact, *, pass_index: int, teacher: Artifact = None
    ) -> Artifact:
        """`network` trained further without the L1 term; `teacher` is the network to distil from."""
        given = self.inputs
        task = fine_tune(
            dataset=data,
            start=network,
            preset=given.preset,
            recipe_overrides=given.tune,
            seed=given.seed,
            pass_index=pass_index,
            experiment=given.experiment,
            architecture=given.model,
            **({} if teacher is None else {"teacher": teacher}),
        )
        return self._titled(task, pass_index, "fine-tune").output

    def export(
        self, data: Artifact, network: Artifact, *, pass_index: int, step: str = "export ONNX"
    ) -> Artifact:
        """`network` as an ONNX model; `step` is a part of the title."""
        exported = export_onnx(
            dataset=data, start=network, pass_index=pass_index, architecture=self.inputs.model
        )
        return self._titled(exported, pass_index, step).output

    def measure(
        self, data: Artifact, network: Artifact, *, pass_index: int, wide: Artifact = None, **settings: Any
    ) -> Measurement:
        """The tasks that export and measure `network`, and decide whether to go on.

        Args:
            wide: the exported wide network, to compare latencies with; None if `network` is the wide one.
            settings: further inputs of the step `evaluate`.
        """
        exported = self.export(data, network, pass_index=pass_index)
        task = evaluate(
            dataset=data,
            onnx=exported,
            pass_index=pass_index,
            experiment=self.inputs.experiment,
            run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            **({} if wide is None else {"wide": wide}),
            **settings,
        )
        task.set_env_variable(IMAGE_TAG, image_tag())
        # It measures time, logs and decides: none of these may come from an earlier run.
        self._titled(task, pass_index, "evaluate").set_caching_options(False)
        return Measurement(exported, task.outputs["results"], task.outputs["Output"])

    def _titled(self, task: Task, pass_index: int, step: str) -> Task:
        return self.place(task).set_display_name(self.title(pass_index, step))
