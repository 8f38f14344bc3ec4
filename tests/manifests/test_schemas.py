"""Every object is what Kubernetes' schemas say, unknown fields refused, in an old and the newest version; and
what is Kubeflow Trainer's is what its own models say."""

from __future__ import annotations

import kubernetes_validate
import pytest
from kubeflow_trainer_api import models

from tests.helpers.rendered import ROOTS, of_kind, render

pytestmark = pytest.mark.cluster

OLDEST, NEWEST = "1.30", "1.37"
OF_OTHERS = {"InferenceService", "TrainingRuntime"}  # no schema in Kubernetes; KServe's is in test_policy.py


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("root", ROOTS)
def test_every_object_is_valid(root: str, version: str) -> None:
    objects = [thing for thing in render(root) if thing["kind"] not in OF_OTHERS]
    assert objects
    for thing in objects:
        assert kubernetes_validate.validate(thing, version, strict=True) == version


def test_a_misspelt_field_would_be_found() -> None:
    (job,) = render("loader")
    broken = {**job, "spec": {**job["spec"], "backOffLimit": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="backOffLimit"):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def test_trainer_defines_every_field_of_its_runtime() -> None:
    (runtime,) = of_kind(render("trainer"), "TrainingRuntime").values()
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
    broken = {**runtime, "spec": {**runtime["spec"], "mlPolcy": {}}}
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(broken).to_dict() != broken
