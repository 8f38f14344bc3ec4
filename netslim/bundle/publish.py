"""Publish a bundle to a folder or to S3. A reader sees a complete bundle or none."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from netslim.bundle.layout import CHECKSUMS, KEY_SIGNATURE, read_checksums
from netslim.bundle.triton import triton_layout
from netslim.bundle.verify import require_good, verify
from netslim.errors import StorageError
from netslim.storage import s3
from netslim.storage.atomic import atomic_directory, sha256
from netslim.storage.backends import open_backend

__all__ = ["publish"]


def publish(bundle: Path, destination: str, *, triton: str = "") -> bool:
    """Verify the bundle and write it to `destination`, a local folder or s3://bucket/prefix.

    SHA256SUMS (or Triton's config.pbtxt) is written last, so its presence means that the bundle is complete.
    Publish again to finish an interrupted upload. A bundle that was published without its signature, or with
    another one, gets the present signature.

    Args:
        triton: if given, write Triton's layout of a model with this name instead.

    Returns:
        Whether anything was written; False when this bundle is already published there.

    Raises:
        BundleError: the bundle is not good.
        StorageError: another bundle is published there, or the destination cannot be written.
    """
    require_good(verify(bundle), bundle)
    with tempfile.TemporaryDirectory() as parent:
        draft = Path(parent, "bundle")
        # The file `identity` differs between bundles; the file `last` is written last.
        if triton:
            folder = triton_layout(bundle, draft, triton)
            shutil.copyfile(bundle / CHECKSUMS, folder / CHECKSUMS)
            identity, last = f"{triton}/{CHECKSUMS}", f"{triton}/config.pbtxt"
        else:
            _copy_bundle(bundle, draft)
            identity = last = CHECKSUMS
        published = _published_file(destination, identity)
        if published is not None and published != (draft / identity).read_bytes():
            remedy = "Publish each bundle to a folder of its own, for example one named after its version"
            raise StorageError("another bundle is published there", field=destination, remedy=remedy)
        if published is not None and _published_file(destination, last) is not None:
            return _update_signature(draft, destination)
        if s3.is_s3(destination):
            s3.upload_tree(draft, destination, last=last)
        elif triton:
            _add_to_repository(draft, Path(destination), last)
        else:
            with atomic_directory(destination) as folder:
                shutil.copytree(draft, folder, dirs_exist_ok=True)
    return True


def _copy_bundle(bundle: Path, draft: Path) -> None:
    """Copy the bundle's own files to the new folder `draft`, without the files that MLflow may have added."""
    draft.mkdir()
    signature = [KEY_SIGNATURE] if (bundle / KEY_SIGNATURE).exists() else []
    for name in (*read_checksums(bundle), *signature, CHECKSUMS):
        shutil.copyfile(bundle / name, draft / name)


def _update_signature(draft: Path, destination: str) -> bool:
    """Write the draft's signature to a published bundle that has none or another; whether it was written."""
    file = draft / KEY_SIGNATURE
    if not file.exists() or _published_file(destination, KEY_SIGNATURE) == file.read_bytes():
        return False
    open_backend(destination).write(KEY_SIGNATURE, file.read_bytes())
    return True


def _published_file(destination: str, name: str) -> bytes | None:
    """The content of the file `name` at the destination, None when it does not exist.

    Raises:
        StorageError: the destination is a local folder with files, but without a bundle.
    """
    if s3.is_s3(destination):
        url = f"{destination.rstrip('/')}/{name}"
        return s3.get_bytes(url) if s3.exists(url) else None
    folder, file = Path(destination), Path(destination, name)
    if name == CHECKSUMS and folder.is_dir() and not file.exists() and any(folder.iterdir()):
        remedy = "Name a new or an empty folder"
        raise StorageError("a folder with other files in it", field=destination, remedy=remedy)
    return file.read_bytes() if file.is_file() else None


def _add_to_repository(draft: Path, repository: Path, last: str) -> None:
    """Copy a model to a Triton repository, which may contain other models; the file `last` at the end."""
    files = sorted(file.relative_to(draft) for file in draft.rglob("*") if file.is_file())
    for name in sorted(files, key=lambda name: str(name) == last):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(draft / name, repository / name)
        assert sha256(repository / name) == sha256(draft / name)
