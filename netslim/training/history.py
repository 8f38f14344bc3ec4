"""The training curve on disk: history.jsonl, one JSON object per epoch, readable while training runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netslim.storage.atomic import atomic_file, storage_errors

__all__ = ["History"]


class History:
    """The rows of one training, in memory and, with a path, appended to a file one by one.

    Each row has `step` (finished epochs, from 1), `ts` (milliseconds since 1970) and its values. A resumed
    run begins with its checkpoint's rows and rewrites the file with them, because the rows that a killed run
    wrote after its checkpoint are computed again.
    """

    def __init__(self, path: Path | None, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.path, self.rows = path, [dict(row) for row in rows]
        if path is not None:
            with atomic_file(path) as draft:
                draft.write_text("".join(map(_line, self.rows)), encoding="utf-8")

    def append(self, step: int, values: Mapping[str, float]) -> dict[str, Any]:
        """Add the row of one epoch and return it.

        Raises:
            StorageError: the disk is full or read-only.
        """
        row = {"step": step, "ts": time.time_ns() // 1_000_000, **values}
        self.rows.append(row)
        if self.path is not None:
            with storage_errors(self.path), open(self.path, "a", encoding="utf-8") as stream:
                stream.write(_line(row))
        return row


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
