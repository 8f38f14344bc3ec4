"""The best model of a run as a version in MLflow's model registry, and the alias `champion`.

`netslim.results.best_model` chooses the best model of a run.

The best model of a new run becomes the champion when there is none yet. It replaces a champion when it has
fewer FLOPs, and an error increase over the *champion's* reference error that is also allowed. Otherwise each
run could be a little worse than the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netslim.results.best_model import TOLERANCE, BestModel, best_model
from netslim.results.run_results import RunResults
from netslim.tracking.client import database_lock
from netslim.tracking.logged_models import model_id_of
from netslim.tracking.names import KEY_TAG
from netslim.tracking.runs import RunGroup
from netslim.tracking.write import child_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ALIAS", "register", "registered_name"]

ALIAS = "champion"
# Tags of a model version.
ERROR_TAG, FLOPS_TAG, KIND_TAG = "netslim.error", "netslim.flops", "netslim.error_kind"
REFERENCE_TAG = "netslim.reference_error"
REFERENCE_TAG_0_1_0 = "netslim.allowed_from"


def version_tags(best: BestModel) -> dict[str, str]:
    """The tags of the version of `best`."""
    return {
        "netslim.pass": str(best.result.index),
        "sha256": best.result.onnx_sha256,
        ERROR_TAG: repr(best.error),
        FLOPS_TAG: str(best.result.size.flops),
        REFERENCE_TAG: repr(best.reference_error),
        KIND_TAG: best.kind,
    }


def registered_name(results: RunResults, experiment: str) -> str:
    """`netslim-<architecture>-<dataset>`, without characters that MLflow refuses."""
    parts = ("netslim", results.constants.get("architecture", "network"), experiment.rpartition("/")[2])
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))


def register(run_group: RunGroup, results: RunResults, experiment: str) -> str | None:
    """Make the run's best model a version of its registered model, once, and the champion if it is better.

    Returns:
        The address of the version, `models:/<name>/<version>`; None when the run has no model to register.
    """
    best = best_model(results)
    if best is None:
        return None
    child = run_group.children().get(child_name(best.result))
    if child is None or not (model_id := model_id_of(child)):
        return None
    client, name = run_group.client, registered_name(results, experiment)
    tags = {KEY_TAG: run_group.destination.key, **version_tags(best)}
    with database_lock(run_group.destination.uri):
        version = _find_or_create_version(client, name, tags, model_id, child.info.run_id)
        champion = _champion(client, name)
        assert results.max_error_increase is not None  # else there is no best model
        if champion is None or replaces(version.tags, champion.tags, results.max_error_increase):
            client.set_registered_model_alias(name, ALIAS, version.version)
    return f"models:/{name}/{version.version}"


def _find_or_create_version(
    client: MlflowClient, name: str, tags: dict[str, str], model_id: str, run_id: str
) -> Any:
    """The version of this run; a retried step makes no second one."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    of_this_run = f"name = '{name}' and tags.`{KEY_TAG}` = '{tags[KEY_TAG]}'"
    if existing := client.search_model_versions(of_this_run):
        return min(existing, key=lambda version: int(version.version))
    return client.create_model_version(name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id)


def _champion(client: MlflowClient, name: str) -> Any:
    aliases = client.get_registered_model(name).aliases
    return client.get_model_version(name, aliases[ALIAS]) if ALIAS in aliases else None


def replaces(new: Mapping[str, str], champion: Mapping[str, str], allowed: float) -> bool:
    """Whether the version with the tags `new` becomes the champion in place of the one with `champion`.

    Args:
        allowed: the largest increase of the error, in percentage points.
    """
    reference = champion.get(REFERENCE_TAG) or champion.get(REFERENCE_TAG_0_1_0)
    if reference is None or not {ERROR_TAG, FLOPS_TAG, KIND_TAG} <= champion.keys():
        return False  # it was chosen by hand
    if new[KIND_TAG] != champion[KIND_TAG]:
        return False  # its error was measured on other images
    good = float(new[ERROR_TAG]) <= float(reference) + allowed + TOLERANCE
    smaller = (int(new[FLOPS_TAG]), float(new[ERROR_TAG])) < (
        int(champion[FLOPS_TAG]),
        float(champion[ERROR_TAG]),
    )
    return good and smaller
