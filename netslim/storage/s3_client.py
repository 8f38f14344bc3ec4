"""boto3's client for S3: endpoint and credentials from the environment, retries, parts of large files."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from netslim.errors import StorageError, first_line
from netslim.storage import s3_requests

__all__ = ["PARALLEL", "client", "transfer"]

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")
"""Environment variables with the endpoint; the first that is set counts. boto3 reads the first two."""

PARALLEL = 16  # transfers at once
PART = 64 << 20  # bytes of each part of a large file


def client() -> Any:
    """The client for the environment variables as they are now.

    Making one takes a quarter of a second, so the last few are kept.

    Raises:
        StorageError: boto3 is not installed, or a setting for it is wrong.
    """
    settings = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "MLFLOW_S3_"))}
    return _new_client(tuple(sorted(settings.items())))


@lru_cache(maxsize=4)
def _new_client(environment: tuple[tuple[str, str], ...]) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        remedy = "Install it with: pip install 'netslim[s3]'"
        raise StorageError("s3:// needs boto3, which is not installed", remedy=remedy) from error
    settings = dict(environment)
    endpoint = _endpoint(settings)
    bundle = settings.get("AWS_CA_BUNDLE", "")
    if bundle and not Path(bundle).exists():
        remedy = "Set it to the certificate of the endpoint's authority"
        raise StorageError("no such file", field="AWS_CA_BUNDLE", value=bundle, remedy=remedy)
    config = Config(
        retries={"mode": "standard", "total_max_attempts": s3_requests.ATTEMPTS},
        connect_timeout=s3_requests.CONNECT_TIMEOUT,
        read_timeout=s3_requests.READ_TIMEOUT,
        max_pool_connections=4 * PARALLEL,
    )
    try:
        client = boto3.Session().client("s3", endpoint_url=endpoint, config=config)
    except ValueError as error:  # of a profile's endpoint, or of the region
        remedy = "Check AWS_DEFAULT_REGION, AWS_PROFILE and the file ~/.aws/config"
        problem = f"boto3 cannot be started ({first_line(error)})"
        raise StorageError(problem, field="S3", remedy=remedy) from error
    s3_requests.watch(client)
    return client


def transfer() -> Any:
    """How boto3 sends and fetches large files: in parts, four at once."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4, num_download_attempts=3
    )


def _endpoint(settings: dict[str, str]) -> str | None:
    """The endpoint that boto3 does not read itself; None where it does, or where there is none.

    Raises:
        StorageError: the endpoint is not an address.
    """
    variable = next((name for name in ENDPOINTS if settings.get(name)), None)
    if variable is None:
        return None
    value = settings[variable]
    try:
        parts = urlsplit(value)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        right = right and not any(character.isspace() for character in value) and not parts.query
    except ValueError:  # the port is not a number, or an IPv6 address is not closed
        right = False
    if not right:
        raise StorageError(
            "not an address of an object store",
            field=variable,
            value=None if "@" in value else value,  # it could hold a password
            remedy="Set it to http://host:port or https://host",
        )
    return value if variable == "MLFLOW_S3_ENDPOINT_URL" else None
