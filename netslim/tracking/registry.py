"""The best model of a run as a version in MLflow's model registry, and the alias `champion`.

The best model of a run has the fewest FLOPs among those whose error increase over the run's reference error
is at most the allowed one (--max-error-increase). The validation error decides where there is one.

The best model of a new run becomes the champion when there is none yet. It replaces a champion when it has
fewer FLOPs, and an error increase over the *champion's* reference error that is also allowed. Otherwise each
run could be a little worse than the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.tracking.client import database_lock
from netslim.tracking.logged_models import model_id_of
from netslim.tracking.names import KEY_TAG
from netslim.tracking.runs import RunGroup
from netslim.tracking.write import child_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ALIAS", "BestModel", "best_model", "register", "registered_name"]

ALIAS = "champion"
TOLERANCE = 1e-9  # 2.3 - 1.3 is more than 1.0 in binary

# Tags of a model version.
ERROR_TAG, FLOPS_TAG, KIND_TAG = "netslim.error", "netslim.flops", "netslim.error_kind"
REFERENCE_TAG = "netslim.reference_error"
REFERENCE_TAG_0_1_0 = "netslim.allowed_from"


@dataclass(frozen=True, kw_only=True)
class BestModel:
    """A pass's model with the errors that it was chosen by, in percent.

    `kind` is "validation" or "test": the images on which `error` and `reference_error` were measured.
    """

    result: PassResult
    error: float
    reference_error: float
    kind: str

    def tags(self) -> dict[str, str]:
        return {
            "netslim.pass": str(self.result.index),
            "sha256": self.result.onnx_sha256,
            ERROR_TAG: repr(self.error),
            FLOPS_TAG: str(self.result.size.flops),
            REFERENCE_TAG: repr(self.reference_error),
            KIND_TAG: self.kind,
        }


def registered_name(results: RunResults, experiment: str) -> str:
    """`netslim-<architecture>-<dataset>`, without characters that MLflow refuses."""
    parts = ("netslim", results.constants.get("architecture", "network"), experiment.rpartition("/")[2])
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))


def best_model(results: RunResults) -> BestModel | None:
    """The best model of a run.

    None for a sweep, for a run that sets no allowed error increase or has no reference error, and when no
    error is low enough.
    """
    allowed, reference = results.max_error_increase, results.reference_error
    if allowed is None or reference is None or any(result.label for result in results.rows):
        return None
    reference_error, kind = reference.error, "test"
    errors = {result.index: result.errors.test for result in results.rows}
    validation = {
        result.index: error for result in results.rows if (error := result.errors.validation) is not None
    }
    if results.baseline and validation.keys() == errors.keys():
        errors, reference_error, kind = validation, validation[0], "validation"
    good = [row for row in results.rows if errors[row.index] <= reference_error + allowed + TOLERANCE]
    if not good:
        return None
    best = min(good, key=lambda result: (result.size.flops, errors[result.index]))
    return BestModel(result=best, error=errors[best.index], reference_error=reference_error, kind=kind)


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
    tags = {KEY_TAG: run_group.destination.key, **best.tags()}
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
