"""boto3's client for S3: endpoint and credentials from the environment, retries, parts of large files."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from netslim.errors import StorageError
from netslim.storage import s3_errors

__all__ = ["PARALLEL", "client", "transfer"]

PARALLEL = 16  # transfers at once
READ_TIMEOUT = 60  # seconds without a byte after which a request is sent again
CONNECT_TIMEOUT = 10
PART = 64 << 20  # bytes of each part of a large file


def client() -> Any:
    """The client for the environment variables as they are now.

    Making one takes a quarter of a second, so the last few are kept.

    Raises:
        StorageError: boto3 is not installed, or the endpoint is not an address.
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
    read_by_boto3 = settings.keys() & {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}
    endpoint = None if read_by_boto3 else settings.get("MLFLOW_S3_ENDPOINT_URL") or None
    config = Config(
        retries={"mode": "standard", "total_max_attempts": s3_errors.ATTEMPTS},
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=4 * PARALLEL,
    )
    try:
        return boto3.Session().client("s3", endpoint_url=endpoint, config=config)
    except ValueError as error:  # "Invalid endpoint: ..."
        remedy = "Set AWS_ENDPOINT_URL to http://host:port or https://host"
        raise StorageError(f"boto3 cannot be started ({error})", field="S3", remedy=remedy) from error


def transfer() -> Any:
    """How boto3 sends and fetches large files: in parts, four at once."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
