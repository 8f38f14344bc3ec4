"""The connection to MLflow changes the environment for its length only."""

from __future__ import annotations

import os

import pytest

from netslim.tracking.client import TIMEOUT, connect, time_to_store


def test_environment_variables_are_set_for_the_length_of_a_connection(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")  # the user's
    before = dict(os.environ)
    with connect(database, timeout=7):
        assert os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] == "true"
        assert os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] == "false"
        assert os.environ[TIMEOUT] == "7"
        with connect(database):
            assert os.environ[TIMEOUT] == "7"
        assert os.environ[TIMEOUT] == "7"
    assert dict(os.environ) == before


def test_a_large_file_has_more_time(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(database, timeout=15):
        with time_to_store(10 << 20):
            assert os.environ[TIMEOUT] == "15"
        with time_to_store(600 << 20):
            assert os.environ[TIMEOUT] == "300"
        assert os.environ[TIMEOUT] == "15"
    monkeypatch.setenv(TIMEOUT, "20")
    with connect(database), time_to_store(600 << 20):
        assert os.environ[TIMEOUT] == "20"  # the user's
