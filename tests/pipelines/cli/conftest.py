"""A KFP backend on which time passes only in `sleep`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.helpers.compiled import remember_compiled
from tests.helpers.followed_runs import Clock
from tests.helpers.kfp_server import serving
from tests.helpers.kfp_state import Cluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name in ("ENDPOINT", "NAMESPACE", "TOKEN", "SA_TOKEN_PATH", "CA", "UI_ENDPOINT"):
        monkeypatch.delenv(f"KF_PIPELINES_{name}", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with serving(Cluster()) as served:
        remember_compiled(monkeypatch)
        clock = Clock()
        monkeypatch.setattr(time, "sleep", clock.sleep)
        monkeypatch.setattr("netslim_kfp.pipelines.cluster.watch.time", clock)
        yield served
