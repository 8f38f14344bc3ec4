"""Every object is what Kubernetes' schemas say, unknown fields refused, in an old and the newest version."""

from __future__ import annotations

import kubernetes_validate
import pytest
from rendered import ROOTS, render

pytestmark = pytest.mark.cluster

OLDEST, NEWEST = "1.30", "1.37"
OF_OTHERS = {"InferenceService"}  # KServe's, with no schema in Kubernetes: test_policy.py looks at it


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
