"""The settings of a run that people sort and filter runs by: MLflow's params of the parent run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from netslim.bundle.model_card import versions
from netslim.steps.step_record import StepRecords

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["IMAGE_TAG", "run_constants"]

IMAGE_TAG = "NETSLIM_IMAGE_TAG"
"""The environment variable with the tag of the container images of the steps."""

RECIPE_NAMES_OF_0_1 = {"lambda": "lam", "total_shrinkage": "pull"}
"""Recipe fields that 0.1.0 logged under another name. Both are logged, so that old and new runs compare."""


def run_constants(info: DatasetInfo, records: StepRecords, *, point: str = "") -> dict[str, str]:
    """The settings as far as the records of this pass contain them.

    The first names are those of a run as a whole: `model`, `dataset`, `percent` or `target`, `keep` and
    `layers` where they are set, `lambda`, `seed`, the tag of the images and the git revision. After them come
    all values of each step, such as `sparse/epochs`. The tag and the revision are left out where they are not
    known.

    Args:
        point: `lambda` or `percent` for a point of that sweep.
    """
    constants: dict[str, object] = {"dataset": info.title, "sweep": point}
    if records.train:
        trained = records.train.metrics
        constants |= {
            "model": trained.architecture,
            "architecture": trained.architecture,
            "seed": trained.seed,
        }
        if trained.stage == "sparse":
            constants["lambda"] = f"{trained.lambda_:.6g}"
        constants |= _recipe(trained.stage, trained.recipe)
    if records.prune:
        settings = records.prune.metrics.settings
        asked = "target" if settings.get("target") else "percent"
        constants[asked] = settings.get(asked, "")
        settings = {
            name: ", ".join(value) if isinstance(value, list) else value for name, value in settings.items()
        }
        constants |= {name: settings.get(name, "") for name in ("keep", "layers")}
        constants |= {f"prune/{name}": value for name, value in settings.items()}
    if records.fine_tune:
        constants |= _recipe("fine_tune", records.fine_tune.metrics.recipe)
    constants |= {"images": os.environ.get(IMAGE_TAG, ""), "git_revision": versions().get("git revision", "")}
    return {name: str(value) for name, value in constants.items() if value not in ("", {})}


def _recipe(stage: str, recipe: Mapping[str, object]) -> dict[str, object]:
    named = {f"{stage}/{name}": value for name, value in recipe.items()}
    old = {f"{stage}/{old}": recipe[new] for new, old in RECIPE_NAMES_OF_0_1.items() if new in recipe}
    return named | old
