"""Exceptions of MLflow and of its libraries become errors with the exit code that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from netslim.errors import StorageError
from netslim.tracking.mlflow_errors import tracking_errors


def test_a_full_disk_under_the_database_is_a_storage_error(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with sqlalchemy.create_engine(uri).connect() as connection:
        connection.execute(sqlalchemy.text("pragma max_page_count = 3"))  # as a disk of 12 kB
        connection.execute(sqlalchemy.text("create table runs (name text)"))
        fill = sqlalchemy.text("insert into runs values (:name)")
        with (
            pytest.raises(StorageError, match=r"mlflow\.db: the disk is full\. Free some"),
            tracking_errors(uri),
        ):
            connection.execute(fill, {"name": "x" * 100_000})
