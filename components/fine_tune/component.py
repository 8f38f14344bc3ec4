"""Step: train the pruned network without the L1 term, to recover the error that pruning added."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("train")
def fine_tune(
    dataset: dsl.Input[dsl.Dataset],
    start: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    teacher: dsl.Input[dsl.Model] = None,
    preset: str = "digits",
    recipe_overrides: dict = {},
    seed: int = 0,
    pass_index: int = 1,
    experiment: str = "",
    architecture: str = "",
) -> None:
    """Fine-tune a pruned network (paper, section 3), optionally with the unpruned baseline as teacher.

    Args:
        dataset: a packed dataset.
        start: the pruned network.
        model: the fine-tuned network, with its error and training curve in its step records.
        teacher: the network to distil from, when the recipe's `distill` is above 0.
        preset: the training recipe's name.
        recipe_overrides: fields of the recipe to replace, such as {"epochs": 20}.
        seed: of order and augmentation.
        pass_index: number of the pass.
        experiment: the MLflow experiment for curves during training; empty for none.
        architecture: the run's network. If it is package.module:factory, that Python code may be run.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.step_log import step_log
    from netslim.steps.train import train_step
    from netslim.steps.training_request import TrainingRequest

    with step_process(), step_log(f"fine-tuning of pass {int(pass_index)}") as log:
        request = TrainingRequest(
            stage="fine_tune",
            dataset=dataset.path,
            model=model.path,
            start=start.path,
            teacher=teacher.path if teacher else None,
            architecture=architecture,
            preset=preset,
            recipe_overrides=recipe_overrides,
            seed=int(seed),
            pass_index=int(pass_index),
            experiment=experiment,
        )
        metrics = train_step(request)
        log.outcome = metrics.summary
    model.metadata.update(error=metrics.error)
