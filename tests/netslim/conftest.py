"""An S3 API over HTTP (moto's server) with a bucket for each test that asks for one; and a clean registry."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest


@pytest.fixture
def no_rules() -> Iterator[None]:
    """The test begins and ends without rules for operations of the user's own."""
    from netslim.nn.own_rules import FUNCTIONS, MODULES, OPERATORS

    yield
    for table in (OPERATORS, FUNCTIONS, MODULES):
        table.clear()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty bucket that boto3 reaches by its environment."""
    import boto3

    for name in ("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"netslim-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name
