"""The identity of an image folder's files: it changes when a file is added, removed, renamed or written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from netslim.data.folder_files import find_files
from netslim.data.prepare import FOLDERS
from netslim.errors import NetslimError
from netslim.storage import s3

__all__ = ["UNREADABLE", "files_identity"]

UNREADABLE = "unreadable"


def files_identity(name: str, root: str) -> str:
    """The identity of the files that `prepare` would read.

    Of a local folder it comes from the path, size and time of modification of each image; in S3 from the name
    and the ETag of each object. The content is not read.

    Args:
        name: of the dataset, as `prepare` takes it.
        root: the folder or s3:// address of its files.

    Returns:
        Empty for datasets that are not image folders: their files have known checksums. UNREADABLE for a
        folder that is refused: `prepare` has the reason.
    """
    if name not in FOLDERS or not root:
        return ""
    try:
        if not s3.is_s3(root):
            return find_files(Path(root)).identity
        lines = (f"{key}\0{etag}\n" for key, etag in sorted(s3.etags(root).items()))
    except NetslimError:
        return UNREADABLE
    return hashlib.sha256("".join(lines).encode()).hexdigest()
