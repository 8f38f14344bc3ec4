"""A bundle to where its users fetch it: whole for every reader, and never two in one place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from netslim.bundle.layout import SIGNED, SUMS, listed
from netslim.bundle.triton import triton_layout
from netslim.bundle.verify import require_good, verify
from netslim.errors import StorageError
from netslim.storage import s3
from netslim.storage.atomic import atomic_directory, sha256
from netslim.storage.backends import open_backend

__all__ = ["publish"]


def publish(bundle: Path, place: str, *, triton: str = "") -> bool:
    """Verify the bundle and write it to `place`, an s3:// folder or one of this machine.

    What says that all is there comes last (SHA256SUMS; Triton's config.pbtxt), so a reader who waits for it
    finds a whole bundle, and a publishing that broke off is completed by doing it again.

    Args:
        triton: write Triton's layout instead, of a model with this name.

    Returns:
        Whether anything had to be written; False when this very bundle is there already.

    Raises:
        BundleError: the bundle is not good.
        StorageError: another bundle is there, or the place cannot be written.
    """
    require_good(verify(bundle), bundle)
    with tempfile.TemporaryDirectory() as parent:
        draft = Path(parent, "bundle")
        if triton:
            folder, last = triton_layout(bundle, draft, triton), f"{triton}/config.pbtxt"
            # Triton's layout has no list of checksums: the bundle's own says which one this is.
            shutil.copyfile(bundle / SUMS, folder / SUMS)
            mark = f"{triton}/{SUMS}"
        else:
            # Only what is listed: a folder that MLflow made holds files of its own.
            draft.mkdir()
            for name in (*listed(bundle), *([SIGNED] if (bundle / SIGNED).exists() else []), SUMS):
                shutil.copyfile(bundle / name, draft / name)
            last = mark = SUMS
        own = (draft / mark).read_bytes()
        there = _content(place, mark)
        if there is not None and there != own:
            remedy = "Publish each bundle to a folder of its own, such as one with its version"
            raise StorageError("another bundle is published there", field=place, remedy=remedy)
        if there is not None and _content(place, last) is not None:
            return _add_signature(draft, place)
        if s3.is_s3(place):
            s3.upload_tree(draft, place, last=last)
        elif triton:
            _copy(draft, Path(place), last)
        else:
            with atomic_directory(place) as folder:
                shutil.copytree(draft, folder, dirs_exist_ok=True)
    return True


def _add_signature(draft: Path, place: str) -> bool:
    """Put the draft's signature beside a bundle that was published without it, or with another."""
    file = draft / SIGNED
    if not file.exists() or _content(place, SIGNED) == file.read_bytes():
        return False
    open_backend(place).write(SIGNED, file.read_bytes())
    return True


def _content(place: str, name: str) -> bytes | None:
    """The file `name` in the place, None when there is none."""
    if s3.is_s3(place):
        url = f"{place.rstrip('/')}/{name}"
        return s3.get_bytes(url) if s3.exists(url) else None
    file = Path(place, name)
    if Path(place).is_dir() and not file.exists() and name == SUMS and any(Path(place).iterdir()):
        remedy = "Name a new or an empty folder"
        raise StorageError("a folder with other files in it", field=place, remedy=remedy)
    return file.read_bytes() if file.is_file() else None


def _copy(draft: Path, repository: Path, last: str) -> None:
    """Add a model to a repository of Triton's, which may hold others."""
    files = sorted(file.relative_to(draft) for file in draft.rglob("*") if file.is_file())
    for name in sorted(files, key=lambda name: str(name) == last):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(draft / name, repository / name)
        assert sha256(repository / name) == sha256(draft / name)
