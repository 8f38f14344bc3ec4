"""A local run of two real steps: prepare the digits, and train a small network on them."""

import sys
from pathlib import Path

from kfp import dsl
from rich.console import Console

from netslim_kfp.components.prepare_data.component import prepare_data
from netslim_kfp.components.train_sparse.component import train_sparse
from netslim_kfp.pipelines.local import run as local
from netslim_kfp.pipelines.run_config import RunConfig

ARCHITECTURE, SEED = "mlp", 3
RECIPE = {"epochs": 30, "total_shrinkage": 0.2, "threads": 1}


@dsl.pipeline(name="training")
def training(seed: int = 0) -> None:
    data = prepare_data(name="digits", seed=seed)
    train_sparse(
        dataset=data.output,
        stage="sparse",
        preset="digits",
        architecture=ARCHITECTURE,
        recipe_overrides=RECIPE,
        seed=seed,
    )


def main(folder: str) -> int:
    """Run the pipeline with its output in `folder`/out."""
    config = RunConfig(output=Path(folder, "out"), gpus=0)
    console = Console(file=sys.stdout, width=200)
    local.run_local(training, {"seed": SEED}, config, tracking_uri="http://127.0.0.1:9", console=console)
    return 0
