"""A KFP backend for the tests of submitting."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.helpers.compiled import remember_compiled
from tests.helpers.kfp_server import serving
from tests.helpers.kfp_state import Cluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    remember_compiled(monkeypatch)
    for name in ("ENDPOINT", "NAMESPACE", "TOKEN", "SA_TOKEN_PATH", "CA", "UI_ENDPOINT"):
        monkeypatch.delenv(f"KF_PIPELINES_{name}", raising=False)
    with serving(Cluster()) as served:
        yield served
