"""Files and folders in an S3 bucket, addressed as `s3://bucket/key`, with a checksum for each object.

Credentials and region come from the places that boto3 searches. The endpoint is AWS_ENDPOINT_URL_S3 or
AWS_ENDPOINT_URL, else MLFLOW_S3_ENDPOINT_URL, else Amazon's. Each uploaded object has its SHA-256 in its
metadata, and a download with another one is refused; boto3 checks the transfer itself.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from netslim.errors import StorageError
from netslim.progress import bar
from netslim.storage import s3_client
from netslim.storage.atomic import atomic_file, sha256
from netslim.storage.s3_client import PARALLEL
from netslim.storage.s3_errors import s3_errors

__all__ = [
    "delete",
    "delete_tree",
    "download_tree",
    "etags",
    "exists",
    "get_bytes",
    "is_s3",
    "names",
    "put_bytes",
    "upload_tree",
]

Result = TypeVar("Result")

LISTED = 1000  # objects in one answer of a listing; S3 allows no more


def is_s3(path: str | os.PathLike[str]) -> bool:
    return str(path).startswith("s3://")


def exists(url: str) -> bool:
    """Whether there is an object with exactly this key.

    Raises:
        StorageError: the bucket cannot be read.
    """
    bucket, key = _parts(url)
    with s3_errors(url):
        listed = s3_client.client().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return [entry["Key"] for entry in listed.get("Contents", ())] == [key]


def get_bytes(url: str, *, verify: bool = True) -> bytes:
    """The content of one object.

    Args:
        verify: compare it with the checksum in its metadata; False for callers that have their own.

    Raises:
        StorageError: it does not exist, cannot be read, or does not match its checksum.
    """
    bucket, key = _parts(url)
    content = io.BytesIO()
    with s3_errors(url):
        client = s3_client.client()
        metadata = client.head_object(Bucket=bucket, Key=key)["Metadata"]
        client.download_fileobj(bucket, key, content, Config=s3_client.transfer())
    if verify:
        _check_sha256(url, metadata, hashlib.sha256(content.getvalue()).hexdigest())
    return content.getvalue()


def put_bytes(url: str, content: bytes) -> None:
    """Write one object. Readers see the old content or the complete new content.

    Raises:
        StorageError: the bucket cannot be written.
    """
    bucket, key = _parts(url)
    metadata = {"sha256": hashlib.sha256(content).hexdigest()}
    with s3_errors(url):
        s3_client.client().put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)


def names(url: str) -> list[str]:
    """The names of the objects in the folder `url`, relative to it.

    Raises:
        StorageError: the bucket cannot be read, or a name would leave the folder.
    """
    bucket, prefix = _folder(url)
    with s3_errors(url):
        return [name for name, _ in _objects(s3_client.client(), bucket, prefix)]


def etags(url: str) -> dict[str, str]:
    """The ETag of each object in the folder `url`, by its name; it changes with the content.

    Raises:
        StorageError: the bucket cannot be read, or a name would leave the folder.
    """
    bucket, prefix = _folder(url)
    with s3_errors(url):
        return dict(_objects(s3_client.client(), bucket, prefix))


def delete(url: str) -> None:
    """Remove one object, if it exists.

    Raises:
        StorageError: the bucket cannot be written.
    """
    bucket, key = _parts(url)
    with s3_errors(url):
        s3_client.client().delete_object(Bucket=bucket, Key=key)


def delete_tree(url: str) -> None:
    """Remove every object in the folder `url`.

    Raises:
        StorageError: the bucket cannot be read or written.
    """
    _in_parallel(lambda name: delete(f"{url.rstrip('/')}/{name}"), names(url))


def download_tree(
    url: str, directory: str | os.PathLike[str], *, only: Callable[[str], bool] = lambda relative: True
) -> list[Path]:
    """Download every object below `url` into `directory`, and return the files, sorted.

    Args:
        url: a folder, such as s3://bucket/datasets/cifar10.
        directory: the local folder, made if it does not exist. Files of the same names are replaced.
        only: whether to download an object, by its path relative to `url`.

    Raises:
        StorageError: there is nothing to download; or an object cannot be read, does not match its
            checksum, or has a name that would leave `directory`.
    """
    bucket, prefix = _folder(url)
    target = Path(directory)

    def fetch(relative: str) -> Path:
        file = target / relative
        source = f"s3://{bucket}/{prefix}{relative}"
        with s3_errors(source), atomic_file(file) as draft:
            metadata = client.head_object(Bucket=bucket, Key=prefix + relative)["Metadata"]
            client.download_file(bucket, prefix + relative, str(draft), Config=s3_client.transfer())
            if "sha256" in metadata:
                _check_sha256(source, metadata, sha256(draft))
        progress.advance()
        return file

    with s3_errors(url):
        client = s3_client.client()
        wanted = [name for name, _ in _objects(client, bucket, prefix) if only(name)]
    if not wanted:
        raise StorageError("nothing to download there", field=url, remedy="Check the bucket and the folder")
    with bar(f"download {url}", len(wanted)) as progress:
        return sorted(_in_parallel(fetch, wanted))


def upload_tree(directory: str | os.PathLike[str], url: str, *, last: str | None = None) -> None:
    """Upload every file below `directory` to the folder `url`. Repeating it changes nothing.

    Args:
        last: a file, relative to `directory`, that is uploaded after all others: once it exists, the folder
            is complete.

    Raises:
        StorageError: the bucket cannot be written.
    """
    bucket, prefix = _folder(url)
    source = Path(directory)
    files = sorted(str(PurePosixPath(f.relative_to(source))) for f in source.rglob("*") if f.is_file())

    def send(name: str) -> None:
        file = source / name
        with s3_errors(f"s3://{bucket}/{prefix}{name}"):
            extra = {"Metadata": {"sha256": sha256(file)}}
            client.upload_file(str(file), bucket, prefix + name, ExtraArgs=extra, Config=s3_client.transfer())
        progress.advance()

    with s3_errors(url):
        client = s3_client.client()
    with bar(f"upload {url}", len(files)) as progress:
        _in_parallel(send, [name for name in files if name != last])
        if last is not None:
            send(last)


def _in_parallel(work: Callable[[str], Result], items: Sequence[str]) -> list[Result]:
    """`work` of each item, in order, in threads. After the first failure no other item is begun."""
    errors: list[BaseException] = []

    def unless_failed(item: str) -> Result:
        if errors:
            raise errors[0]
        try:
            return work(item)
        except BaseException as error:
            errors.append(error)
            raise

    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(unless_failed, items))


def _parts(url: str) -> tuple[str, str]:
    bucket, _, key = str(url).removeprefix("s3://").partition("/")
    if not is_s3(url) or not bucket:
        raise StorageError("not of the form s3://bucket/key", field="S3 address", value=str(url))
    return bucket, key


def _folder(url: str) -> tuple[str, str]:
    bucket, key = _parts(url)
    return bucket, f"{key.strip('/')}/" if key.strip("/") else ""


def _objects(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
    """The name, without the prefix, and the ETag of each object."""
    pages = client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": LISTED}):
        for entry in page.get("Contents", ()):
            name = entry["Key"].removeprefix(prefix)
            if not name or name.endswith("/"):
                continue  # the empty objects that some consoles make for folders
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                full = f"s3://{bucket}/{entry['Key']}"
                raise StorageError("the object's name would leave the folder", field=full)
            yield name, entry["ETag"]


def _check_sha256(url: str, metadata: dict[str, str], actual: str) -> None:
    if metadata.get("sha256", actual) != actual:
        problem = "the content does not match its checksum (SHA-256)"
        raise StorageError(problem, field=url, remedy="Upload it again")
