"""The best model of a run as a version in MLflow's registry, and the alias `champion` on the best of all.

A run's best is the one with the fewest FLOPs among those whose error is within the allowed loss (--max-loss)
of what the run started from; the validation error decides where there is one. It becomes the champion when
there is none yet, or when it has fewer FLOPs than the champion and its error is also within the allowed loss
of what the champion started from: otherwise each run could be a little worse than the one before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.tracking.client import alone
from netslim.tracking.logged_models import model_id_of
from netslim.tracking.runs import IDENTITY, RunGroup
from netslim.tracking.write import child_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ALIAS", "best_of", "register", "registered_name"]

ALIAS = "champion"
REFERENCE, ERROR, FLOPS, KIND = "netslim.allowed_from", "netslim.error", "netslim.flops", "netslim.error_kind"
TOLERANCE = 1e-9


def registered_name(ledger: RunResults, experiment: str) -> str:
    """`netslim-<architecture>-<dataset>`, with nothing in it that MLflow refuses."""
    parts = ("netslim", ledger.constants.get("architecture", "network"), experiment.rpartition("/")[2])
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))


def best_of(ledger: RunResults) -> tuple[PassResult, float, float, str] | None:
    """The run's best row, its error, the error it is compared with, and which error that is.

    None when there is none: a sweep, or a run without `max_error_increase` or a reference error.
    """
    allowed, reference = ledger.max_error_increase, ledger.reference_error
    if allowed is None or reference is None or any(row.label for row in ledger.rows):
        return None
    start, kind = reference.error, "test"
    errors = {row.index: row.errors.test for row in ledger.rows}
    validated = {row.index: row.errors.validation for row in ledger.rows if row.errors.validation is not None}
    if ledger.baseline and validated.keys() == errors.keys():
        errors, start, kind = validated, validated[0], "validation"
    good = [row for row in ledger.rows if errors[row.index] <= start + allowed + TOLERANCE]
    if not good:
        return None
    best = min(good, key=lambda row: (row.size.flops, errors[row.index]))
    return best, errors[best.index], start, kind


def register(family: RunGroup, ledger: RunResults, experiment: str) -> str | None:
    """Make the run's best model a version of its registered model, once, and the champion if it is better.

    Returns:
        How to load the version, `models:/<name>/<version>`; None when the run has no model to register.
    """
    found = best_of(ledger)
    if found is None:
        return None
    row, error, start, kind = found
    allowed = ledger.max_error_increase
    assert allowed is not None  # else best_of has found nothing
    child = family.children().get(child_name(row))
    if child is None or not (model_id := model_id_of(child)):
        return None
    client, name = family.client, registered_name(ledger, experiment)
    tags = {
        IDENTITY: family.place.key,
        "netslim.pass": str(row.index),
        "sha256": row.onnx_sha256,
        ERROR: repr(error),
        FLOPS: str(row.size.flops),
        REFERENCE: repr(start),
        KIND: kind,
    }
    with alone(family.place.uri):
        version = _version(client, name, tags, model_id, child.info.run_id)
        champion = _champion(client, name)
        if champion is None or _better(version.tags, champion.tags, allowed):
            client.set_registered_model_alias(name, ALIAS, version.version)
    return f"models:/{name}/{version.version}"


def _version(client: MlflowClient, name: str, tags: dict[str, str], model_id: str, run_id: str) -> Any:
    """The version of this run, made if it is not there: a step that is retried makes no second one."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    wanted = f"name = '{name}' and tags.`{IDENTITY}` = '{tags[IDENTITY]}'"
    if there := client.search_model_versions(wanted):
        return min(there, key=lambda version: int(version.version))
    return client.create_model_version(name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id)


def _champion(client: MlflowClient, name: str) -> Any:
    aliases = client.get_registered_model(name).aliases
    return client.get_model_version(name, aliases[ALIAS]) if ALIAS in aliases else None


def _better(new: dict[str, str], old: dict[str, str], max_error_increase: float) -> bool:
    """Whether the version with the tags `new` takes the alias from the one with the tags `old`."""
    if not {ERROR, FLOPS, REFERENCE, KIND} <= old.keys() or new[KIND] != old[KIND]:
        return False  # set by hand, or measured on other images: nothing to compare, so it stays
    allowed = float(new[ERROR]) <= float(old[REFERENCE]) + max_error_increase + TOLERANCE
    smaller = (int(new[FLOPS]), float(new[ERROR])) < (int(old[FLOPS]), float(old[ERROR]))
    return allowed and smaller
