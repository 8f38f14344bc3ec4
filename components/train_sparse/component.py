"""Step: train with L1 on the scaling factors; with lambda = 0 this is normal training, the baseline."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("train")
def train_sparse(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    start: dsl.Input[dsl.Model] = None,
    architecture: str = "vgg-digits",
    architecture_args: dict = {},
    stage: str = "sparse",
    preset: str = "digits",
    recipe_overrides: dict = {},
    strength: str = "",
    seed: int = 0,
    pass_index: int = 0,
    experiment: str = "",
) -> None:
    """Train a network while L1 moves its BatchNorm scaling factors towards zero (paper, section 3).

    Args:
        dataset: a packed dataset.
        model: the trained network, with its error, sparsity and training curve in its step records.
        start: the network to continue from; without it a new one is made.
        architecture: a name, any torchvision classifier, or package.module:factory, whose Python code is run.
            With `start` it only says which code may be run.
        architecture_args: keyword arguments of the architecture.
        stage: `sparse`, or `base` for the baseline.
        preset: the training recipe's name.
        recipe_overrides: fields of the recipe to replace, such as {"epochs": 20, "lam": 0.0001}.
        strength: of the L1 term, in place of the recipe's; text such as lam=0.0001 or pull=2, for loops.
        seed: of initial weights, order and augmentation.
        pass_index: number of the pass; 0 is the baseline.
        experiment: the MLflow experiment for curves during training; empty for none.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.step_log import step_log
    from netslim.steps.train import train_step
    from netslim.steps.training_request import TrainingRequest

    kind = "training of the baseline" if stage == "base" else f"sparse training of pass {int(pass_index)}"
    with step_process(), step_log(kind) as log:
        request = TrainingRequest(
            stage=stage,
            dataset=dataset.path,
            model=model.path,
            start=start.path if start else None,
            architecture=architecture,
            architecture_args=architecture_args,
            preset=preset,
            recipe_overrides=recipe_overrides,
            strength=str(strength),
            seed=int(seed),
            pass_index=int(pass_index),
            experiment=experiment,
        )
        metrics = train_step(request)
        log.outcome = metrics.summary
    model.metadata.update(error=metrics.error, zero_share=metrics.zero_share)
