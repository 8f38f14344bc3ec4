"""Files to and from `s3://bucket/key`: boto3 does the work; here are retries, checksums and clear errors.

Credentials and region come from where boto3 looks for them. The endpoint is AWS_ENDPOINT_URL_S3 or
AWS_ENDPOINT_URL, else MLFLOW_S3_ENDPOINT_URL, else Amazon's. Each uploaded object carries its SHA-256 as
metadata, and a download that does not match it is refused; the transfer itself is checked by boto3.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from netslim.errors import StorageError
from netslim.progress import bar
from netslim.storage.atomic import atomic_file, sha256

__all__ = [
    "delete",
    "delete_tree",
    "download_tree",
    "exists",
    "get_bytes",
    "is_s3",
    "names",
    "put_bytes",
    "upload_tree",
]

PARALLEL = 16
ATTEMPTS = 6
LISTED = 1000
SECONDS = 60  # of silence after which a connection is given up and tried again


def is_s3(path: str | os.PathLike[str]) -> bool:
    return str(path).startswith("s3://")


def exists(url: str) -> bool:
    """Is there an object with exactly this key?

    Raises:
        StorageError: the bucket cannot be read.
    """
    bucket, key = _parts(url)
    with _clear_errors(url):
        listed = _client().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return [entry["Key"] for entry in listed.get("Contents", ())] == [key]


def get_bytes(url: str, *, verify: bool = True) -> bytes:
    """The content of one object.

    Args:
        verify: compare it with the checksum that was uploaded with it; False where the caller has its own.

    Raises:
        StorageError: it is not there, cannot be read, or is not what was uploaded.
    """
    bucket, key = _parts(url)
    content = io.BytesIO()
    with _clear_errors(url):
        client = _client()
        metadata = client.head_object(Bucket=bucket, Key=key)["Metadata"]
        client.download_fileobj(bucket, key, content, Config=_transfer())
    if verify:
        _compare(url, metadata, hashlib.sha256(content.getvalue()).hexdigest())
    return content.getvalue()


def put_bytes(url: str, content: bytes) -> None:
    """Write one object; readers see the old one or the whole new one.

    Raises:
        StorageError: the bucket cannot be written.
    """
    bucket, key = _parts(url)
    metadata = {"sha256": hashlib.sha256(content).hexdigest()}
    with _clear_errors(url):
        _client().put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)


def names(url: str) -> list[str]:
    """The objects in the folder `url`, by their names relative to it.

    Raises:
        StorageError: the bucket cannot be read, or a name would leave the folder.
    """
    bucket, prefix = _folder(url)
    with _clear_errors(url):
        return list(_names(_client(), bucket, prefix))


def delete(url: str) -> None:
    """Remove one object, if it is there.

    Raises:
        StorageError: the bucket cannot be written.
    """
    bucket, key = _parts(url)
    with _clear_errors(url):
        _client().delete_object(Bucket=bucket, Key=key)


def delete_tree(url: str) -> None:
    """Remove every object in the folder `url`.

    Raises:
        StorageError: the bucket cannot be read or written.
    """
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda name: delete(f"{url.rstrip('/')}/{name}"), names(url)))


def download_tree(
    url: str, directory: str | os.PathLike[str], *, only: Callable[[str], bool] = lambda relative: True
) -> list[Path]:
    """Download every object below `url` into `directory`, and return the files, sorted.

    Args:
        url: a folder, such as s3://bucket/datasets/cifar10.
        directory: where the tree goes; made if need be. Files already there with the same name are replaced.
        only: chooses objects by their path relative to `url`.

    Raises:
        StorageError: there is nothing to download, an object cannot be read, is not what was uploaded, or
            has a name that would leave `directory`.
    """
    bucket, prefix = _folder(url)
    target = Path(directory)

    def fetch(relative: str) -> Path:
        file = target / relative
        source = f"s3://{bucket}/{prefix}{relative}"
        with _clear_errors(source), atomic_file(file) as draft:
            metadata = client.head_object(Bucket=bucket, Key=prefix + relative)["Metadata"]
            client.download_file(bucket, prefix + relative, str(draft), Config=_transfer())
            if "sha256" in metadata:
                _compare(source, metadata, sha256(draft))
        progress.advance()
        return file

    with _clear_errors(url):
        client = _client()
        names = [name for name in _names(client, bucket, prefix) if only(name)]
    if not names:
        raise StorageError("nothing to download there", field=url, remedy="Check the bucket and the folder")
    with bar(f"download {url}", len(names)) as progress, ThreadPoolExecutor(PARALLEL) as pool:
        return sorted(pool.map(fetch, names))


def upload_tree(directory: str | os.PathLike[str], url: str, *, last: str | None = None) -> None:
    """Upload every file below `directory` to the folder `url`; doing so again changes nothing.

    Args:
        last: the file, relative to `directory`, whose presence tells readers that the rest is complete. It
            is uploaded after all others.

    Raises:
        StorageError: the bucket cannot be written.
    """
    bucket, prefix = _folder(url)
    source = Path(directory)
    names = sorted(str(PurePosixPath(f.relative_to(source))) for f in source.rglob("*") if f.is_file())

    def send(name: str) -> None:
        file = source / name
        with _clear_errors(f"s3://{bucket}/{prefix}{name}"):
            extra = {"Metadata": {"sha256": sha256(file)}}
            client.upload_file(str(file), bucket, prefix + name, ExtraArgs=extra, Config=_transfer())
        progress.advance()

    with _clear_errors(url):
        client = _client()
    with bar(f"upload {url}", len(names)) as progress:
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(send, [name for name in names if name != last]))
        if last is not None:
            send(last)


def _parts(url: str) -> tuple[str, str]:
    bucket, _, key = str(url).removeprefix("s3://").partition("/")
    if not is_s3(url) or not bucket:
        raise StorageError("not of the form s3://bucket/key", field="S3 address", value=str(url))
    return bucket, key


def _folder(url: str) -> tuple[str, str]:
    bucket, key = _parts(url)
    return bucket, f"{key.strip('/')}/" if key.strip("/") else ""


def _names(client: Any, bucket: str, prefix: str) -> Iterator[str]:
    pages = client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": LISTED}):
        for entry in page.get("Contents", ()):
            name = entry["Key"].removeprefix(prefix)
            if not name or name.endswith("/"):
                continue  # the empty objects that some consoles make for folders
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                full = f"s3://{bucket}/{entry['Key']}"
                raise StorageError("the object's name would leave the folder", field=full)
            yield name


def _client() -> Any:
    """boto3's client for the environment as it is now; made once, as that takes a quarter of a second."""
    return _made(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(("AWS_", "MLFLOW_S3_")))))


@lru_cache(maxsize=4)
def _made(environment: tuple[tuple[str, str], ...]) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        remedy = "Install it with: pip install 'netslim[s3]'"
        raise StorageError("s3:// needs boto3, which is not installed", remedy=remedy) from error
    settings = dict(environment)
    own = settings.keys() & {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}  # boto3 reads these itself
    endpoint = None if own else settings.get("MLFLOW_S3_ENDPOINT_URL") or None
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    config = Config(
        retries=retries, connect_timeout=10, read_timeout=SECONDS, max_pool_connections=4 * PARALLEL
    )
    return boto3.Session().client("s3", endpoint_url=endpoint, config=config)


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=4)


def _compare(url: str, metadata: dict[str, str], found: str) -> None:
    if metadata.get("sha256", found) != found:
        problem = "the content is not what was uploaded (its SHA-256 differs)"
        raise StorageError(problem, field=url, remedy="Upload it again")


_ACCESS = "Ask for s3:GetObject, s3:PutObject and s3:ListBucket on it"
_KEYS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role that boto3 finds"
_MEANING = {
    "NoSuchBucket": ("there is no such bucket", "Check its name, and the endpoint"),
    "NoSuchKey": ("there is no such object", "Check its name"),
    "404": ("there is no such object or bucket", "Check its name, and the endpoint"),
    "AccessDenied": ("no permission", _ACCESS),
    "403": ("no permission", _ACCESS),
    "InvalidAccessKeyId": ("the store does not know this access key", _KEYS),
    "SignatureDoesNotMatch": ("the secret key is wrong", _KEYS),
    "ExpiredToken": ("the credentials have expired", "Renew them"),
}


@contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    """Turn what boto3 raises into one sentence that names the object and the remedy."""
    try:
        from boto3.exceptions import Boto3Error
        from botocore import exceptions
    except ImportError:  # _client() says what to install
        yield
        return
    try:
        yield
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        remedy = f"It was tried {ATTEMPTS} times; try again later"
        problem, remedy = _MEANING.get(code, (f"the object store refused ({error})", remedy))
        raise StorageError(problem, field=url, remedy=remedy) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise StorageError("no credentials for S3", field=url, remedy=_KEYS) from error
    except (exceptions.BotoCoreError, Boto3Error) as error:
        remedy = "Check the network, and the endpoint in AWS_ENDPOINT_URL"
        raise StorageError(f"the object store cannot be used ({error})", field=url, remedy=remedy) from error
