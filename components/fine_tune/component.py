"""Step: train the pruned network without the L1 term, so that it recovers what pruning cost."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("train")
def fine_tune(
    dataset: dsl.Input[dsl.Dataset],
    start: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    teacher: dsl.Input[dsl.Model] = None,
    preset: str = "digits",
    recipe: dict = {},
    seed: int = 0,
    pass_index: int = 1,
    experiment: str = "",
) -> None:
    """Fine-tune a pruned network (paper, section 3), optionally taught by the unpruned baseline.

    Args:
        dataset: a packed dataset.
        start: the pruned network.
        model: the fine-tuned network; its error and training curve join its evidence.
        teacher: the network to distil from, when the recipe's `distill` is above 0.
        preset: the training recipe's name.
        recipe: what to change in the recipe, such as {"epochs": 20}.
        seed: of order and augmentation.
        pass_index: which slimming pass this is.
        experiment: the MLflow experiment, for curves that are seen while training; empty for none.
    """
    from netslim.steps.entrypoint import as_step
    from netslim.steps.train import train_step

    found = as_step(train_step)(
        "fine_tune",
        dataset.path,
        model.path,
        start=start.path,
        teacher=teacher.path if teacher else None,
        preset=preset,
        overrides=recipe,
        seed=int(seed),
        pass_index=int(pass_index),
        experiment=experiment,
    )
    model.metadata.update(error=found["error"])
