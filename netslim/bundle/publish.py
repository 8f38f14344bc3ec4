"""Publish a bundle to a folder or to S3. A reader sees a complete bundle or none."""

from __future__ import annotations

import errno
import shutil
import stat
import tempfile
from pathlib import Path

from netslim.bundle.layout import CHECKSUMS, KEY_SIGNATURE, read_checksums
from netslim.bundle.triton import triton_layout
from netslim.bundle.verify import require_good, verify
from netslim.errors import StorageError
from netslim.storage import s3
from netslim.storage.atomic import atomic_file, sha256, storage_errors
from netslim.storage.backends import open_backend

__all__ = ["publish"]

NEW_FOLDER = "Name a new or an empty folder"


def publish(bundle: Path, destination: str, *, triton: str = "") -> bool:
    """Verify the bundle and write it to `destination`, a local folder or s3://bucket/prefix.

    SHA256SUMS (or Triton's config.pbtxt) is written last, so its presence means that the bundle is complete.
    Publish again to finish an interrupted upload. A bundle that was published without its signature, or with
    another one, gets the present signature. Nothing that is not of this bundle is written over.

    Args:
        triton: if given, write Triton's layout of a model with this name instead.

    Returns:
        Whether anything was written; False when this bundle is already published there.

    Raises:
        BundleError: the bundle is not good.
        StorageError: another bundle or other files are there, or the destination cannot be written.
    """
    _check_local(bundle, destination)
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
            _check_objects(draft, destination)
            s3.upload_tree(draft, destination, last=last)
        elif triton:
            if published is None:
                _check_empty(Path(destination, triton))
            _add_to_repository(draft, Path(destination), first=identity, last=last)
        else:
            _check_empty(Path(destination))
            _move_folder(draft, Path(destination))
    return True


def _check_local(bundle: Path, destination: str) -> None:
    """Raise StorageError when a local destination is a file, or lies inside the bundle."""
    if s3.is_s3(destination):
        return
    final = Path(destination).resolve()
    for place in (final, *final.parents):
        if place == bundle.resolve() and place != final:
            raise StorageError("lies inside the bundle itself", field=destination, remedy=NEW_FOLDER)
        if (place.exists() or place.is_symlink()) and not place.is_dir():
            raise StorageError(f"{place} is a file, not a folder", field=destination, remedy=NEW_FOLDER)


def _check_empty(folder: Path) -> None:
    """Raise StorageError when `folder` contains anything."""
    if folder.is_dir() and any(folder.iterdir()):
        raise StorageError("a folder with other files in it", field=str(folder), remedy=NEW_FOLDER)


def _check_objects(draft: Path, destination: str) -> None:
    """Raise StorageError when an object with the name of a file of the bundle exists with another content.

    The same content is there after an upload that was interrupted.
    """
    for file in sorted(path for path in draft.rglob("*") if path.is_file()):
        name = file.relative_to(draft).as_posix()
        url = f"{destination.rstrip('/')}/{name}"
        if s3.exists(url) and s3.get_bytes(url, verify=False) != file.read_bytes():
            raise StorageError(f"another {name} is there", field=destination, remedy=NEW_FOLDER)


def _move_folder(draft: Path, destination: Path) -> None:
    """Copy `draft` beside `destination` and rename it: readers see nothing or the complete folder.

    A destination that is a link is not replaced; the bundle is written to the folder that it points to.

    Raises:
        StorageError: something was written to the destination at the same time, or it cannot be written.
    """
    final = destination.resolve()
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        try:
            shutil.copytree(draft, beside, dirs_exist_ok=True)
            beside.chmod(stat.S_IMODE(final.stat().st_mode) if final.exists() else 0o755)
            beside.rename(final)  # replaces an empty folder, and nothing else
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                problem = "other files were written there at the same time"
                raise StorageError(problem, field=str(destination), remedy=NEW_FOLDER) from error
            raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)


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
    """The content of the file `name` at the destination, None when it does not exist."""
    if s3.is_s3(destination):
        url = f"{destination.rstrip('/')}/{name}"
        return s3.get_bytes(url) if s3.exists(url) else None
    file = Path(destination, name)
    return file.read_bytes() if file.is_file() else None


def _add_to_repository(draft: Path, repository: Path, *, first: str, last: str) -> None:
    """Copy a model to a Triton repository, which may contain other models.

    Args:
        first: is written first, and identifies the model when the rest is interrupted.
        last: is written at the end.
    """
    names = sorted(file.relative_to(draft).as_posix() for file in draft.rglob("*") if file.is_file())
    for name in sorted(names, key=lambda name: (name != first) + (name == last)):
        with atomic_file(repository / name) as copy:  # replaces a link instead of following it
            shutil.copyfile(draft / name, copy)
        assert sha256(repository / name) == sha256(draft / name)
