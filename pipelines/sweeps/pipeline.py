"""The paper's two studies, as pipelines over the same steps: how strong the L1 term, and how much to prune.

Every point of a sweep ends in `evaluate`, as a pass does, and becomes a child run in MLflow; `finish` puts
the points side by side. Choose by the validation error: the test error is for reporting.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from netslim_kfp.components.evaluate.component import evaluate
from netslim_kfp.components.export_onnx.component import export_onnx
from netslim_kfp.components.fine_tune.component import fine_tune
from netslim_kfp.components.finish.component import finish
from netslim_kfp.components.prepare_data.component import prepare_data
from netslim_kfp.components.prune.component import prune
from netslim_kfp.components.train_sparse.component import train_sparse
from netslim_kfp.pipelines.cluster.platform import PlaceTask, no_placement

__all__ = ["build_lambda", "build_percent"]


def build_lambda(*, place: PlaceTask = no_placement) -> Callable[..., Any]:
    """The search for lambda (paper, section 4.3): train, prune and fine-tune with each strength.

    `strengths` are texts such as "lam=0.0001" or "pull=2": a KFP backend passes an item of a loop as text.
    """

    @dsl.pipeline(name="lambda-search", description="Which strength of the L1 term gives the lowest error?")
    def lambda_search(
        strengths: list,
        model: str = "vgg-digits",
        model_args: dict = {},
        dataset: str = "digits",
        data_root: str = "",
        download: bool = False,
        validation: int = 200,
        image_size: int = 0,
        dataset_title: str = "",
        preset: str = "digits",
        sparse: dict = {},
        tune: dict = {},
        percent: str = "0.5",
        scope: str = "global",
        policy: str = "auto",
        max_layer_percent: float = 1.0,
        channel_multiple: int = 1,
        seed: int = 0,
        experiment: str = "netslim/digits",
    ) -> None:
        ending = place(finish(experiment=experiment)).set_display_name("finish").set_caching_options(False)
        with dsl.ExitHandler(ending, name="lambda-search-points"):
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
            # One after the other: two trainings would fight for one GPU, or for a laptop's cores.
            with dsl.ParallelFor(items=strengths, parallelism=1, name="lambda") as strength:
                trained = train_sparse(
                    dataset=data.output,
                    architecture=model,
                    architecture_args=model_args,
                    preset=preset,
                    recipe=sparse,
                    strength=strength,
                    seed=seed,
                    pass_index=1,
                )
                place(trained).set_display_name("train sparse")
                _prune_and_measure(
                    place,
                    data,
                    trained,
                    percent,
                    "lambda",
                    preset=preset,
                    tune=tune,
                    scope=scope,
                    policy=policy,
                    max_layer_percent=max_layer_percent,
                    channel_multiple=channel_multiple,
                    seed=seed,
                    experiment=experiment,
                )

    return lambda_search


def build_percent(*, place: PlaceTask = no_placement) -> Callable[..., Any]:
    """The study of the pruned percentage (paper, Figure 5): prune one sparse network by each percent."""

    @dsl.pipeline(name="percent-study", description="How much can be pruned before the error rises?")
    def percent_study(
        percents: list,
        model: str = "vgg-digits",
        model_args: dict = {},
        dataset: str = "digits",
        data_root: str = "",
        download: bool = False,
        validation: int = 0,
        image_size: int = 0,
        dataset_title: str = "",
        preset: str = "digits",
        sparse: dict = {},
        tune: dict = {},
        scope: str = "global",
        policy: str = "auto",
        max_layer_percent: float = 1.0,
        channel_multiple: int = 1,
        seed: int = 0,
        experiment: str = "netslim/digits",
    ) -> None:
        ending = place(finish(experiment=experiment)).set_display_name("finish").set_caching_options(False)
        with dsl.ExitHandler(ending, name="percent-study-points"):
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
            trained = train_sparse(
                dataset=data.output,
                architecture=model,
                architecture_args=model_args,
                preset=preset,
                recipe=sparse,
                seed=seed,
                pass_index=1,
            )
            place(trained).set_display_name("train sparse")
            with dsl.ParallelFor(items=percents, parallelism=1, name="percent") as percent:
                _prune_and_measure(
                    place,
                    data,
                    trained,
                    percent,
                    "percent",
                    preset=preset,
                    tune=tune,
                    scope=scope,
                    policy=policy,
                    max_layer_percent=max_layer_percent,
                    channel_multiple=channel_multiple,
                    seed=seed,
                    experiment=experiment,
                )

    return percent_study


def _prune_and_measure(
    place: PlaceTask,
    data: Any,
    trained: Any,
    percent: Any,
    point: str,
    *,
    preset: Any,
    tune: Any,
    scope: Any,
    policy: Any,
    max_layer_percent: Any,
    channel_multiple: Any,
    seed: Any,
    experiment: Any,
) -> None:
    """What follows sparse training at one point of a sweep."""
    pruned = prune(
        dataset=data.output,
        start=trained.output,
        percent=percent,
        scope=scope,
        policy=policy,
        max_layer_percent=max_layer_percent,
        channel_multiple=channel_multiple,
    )
    place(pruned).set_display_name("prune")
    tuned = fine_tune(
        dataset=data.output,
        start=pruned.output,
        preset=preset,
        recipe=tune,
        seed=seed,
        experiment=experiment,
    )
    place(tuned).set_display_name("fine-tune")
    exported = export_onnx(dataset=data.output, start=tuned.output, pass_index=1)
    place(exported).set_display_name("export ONNX")
    measured = evaluate(
        dataset=data.output,
        onnx=exported.output,
        pass_index=1,
        passes=1,
        experiment=experiment,
        point=point,
    )
    place(measured).set_display_name("evaluate").set_caching_options(False)
