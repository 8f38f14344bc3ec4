"""Step: remove the channels whose scaling factors rank lowest, and write the slim network."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("train")
def prune(
    dataset: dsl.Input[dsl.Dataset],
    start: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    percent: str = "0.5",
    target: dict = {},
    scope: str = "global",
    policy: str = "auto",
    max_layer_percent: float = 1.0,
    min_channels: int = 1,
    channel_multiple: int = 1,
    keep: list = [],
    layers: list = [],
    compensate: bool = True,
    pass_index: int = 1,
    architecture: str = "",
) -> None:
    """Prune by one global percentile over |gamma| (paper, section 3).

    Args:
        dataset: a packed dataset, to recalibrate BatchNorm and to measure the error after pruning.
        start: the sparsely trained network.
        model: the slim network and its pruning plan; its step records list every layer, with the reason.
        percent: share of all channels to prune, such as 0.5, or `dead` for just those at zero.
        target: a budget instead of a percent, such as {"flops": 0.5}.
        scope: `global` ranks all channels together, `layer` prunes the same percent of each layer.
        policy: how coupled channels are treated: auto, group or select.
        max_layer_percent: the largest share of one layer that is pruned; 1 is no cap, the paper uses 0.5.
        min_channels: the fewest channels a layer keeps.
        channel_multiple: widths are rounded up to a multiple of this.
        keep: layers that must not be pruned, by name or pattern, such as ["layer4.*", "stem"].
        layers: layers with a share of their own, such as ["layer4.*=0.3"]; the last match of a layer counts.
        compensate: add the constants that pruned channels contributed to the biases of the next layers.
        pass_index: number of the pass. It changes nothing but the cache key: each pass is a task of its own.
        architecture: the run's network. If it is package.module:factory, that Python code may be run.
    """
    from netslim.pruning.options import PruningOptions
    from netslim.steps.entrypoint import step_process
    from netslim.steps.prune import prune_step
    from netslim.steps.step_log import step_log

    with step_process(), step_log(f"pruning of pass {int(pass_index)}") as log:
        options = PruningOptions(
            percent=percent,
            target=target,
            scope=scope,  # type: ignore[arg-type]  # KFP has no Literal; PruningOptions checks it
            policy=policy,  # type: ignore[arg-type]
            max_layer_percent=max_layer_percent,
            min_channels=min_channels,
            channel_multiple=channel_multiple,
            keep=keep,
            layers=layers,
            compensate=compensate,
        )
        metrics = prune_step(dataset.path, start.path, model.path, options, architecture=architecture)
        log.outcome = metrics.summary
    model.metadata.update(
        error=metrics.error, channels=float(metrics.after.channels), params=float(metrics.after.params)
    )
