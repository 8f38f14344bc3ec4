"""Step: remove the channels whose scaling factors rank lowest, and write the narrower network."""

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
    max_layer_percent: float = 0.5,
    min_channels: int = 1,
    channel_multiple: int = 1,
    compensate: bool = True,
    pass_index: int = 1,
) -> None:
    """Prune by one global percentile over |gamma| (paper, section 3).

    Args:
        dataset: a packed dataset, to measure the error right after pruning.
        start: the sparsely trained network.
        model: the pruned network and the plan that rebuilds it; its evidence says what went where, and why.
        percent: share of all channels to prune, such as 0.5, or `dead` for just those at zero.
        target: a budget instead of a percent, such as {"flops": 0.5}.
        scope: `global` ranks all channels together, `layer` prunes the same percent of each layer.
        policy: how coupled channels are treated: auto, group or select.
        max_layer_percent: most of one layer that may go, as the paper's multi-pass scheme.
        min_channels: fewest channels a layer keeps.
        channel_multiple: widths are rounded up to a multiple of this.
        compensate: fold the constants that pruned channels still sent into the layers that received them.
        pass_index: which slimming pass this is.
    """
    from netslim.steps.entrypoint import as_step
    from netslim.steps.prune import prune_step

    found = as_step(prune_step)(
        dataset.path,
        start.path,
        model.path,
        percent=percent,
        target=target,
        scope=scope,
        policy=policy,
        max_layer_percent=max_layer_percent,
        min_channels=int(min_channels),
        channel_multiple=int(channel_multiple),
        compensate=compensate,
        pass_index=int(pass_index),
    )
    model.metadata.update(error=found["error_pruned"], channels=found["channels"], params=found["params"])
