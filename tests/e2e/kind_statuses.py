"""Compare the statuses of runs in MLflow: kind_statuses.py URI RUN=STATUS...

A canceled run needs a moment: its `finish` closes it after the run's end. Used by kind.sh.
"""

from __future__ import annotations

import sys
import time

from netslim import tracking

PATIENCE = 300.0  # seconds


def main(uri: str, *expected: str) -> None:
    """Wait until every run has the status that is expected of it, and exit with 1 otherwise."""
    wanted = dict(text.split("=") for text in expected)
    deadline = time.monotonic() + PATIENCE
    while True:
        found = {key: tracking.read_run(uri, "", key).status for key in wanted}
        if found == wanted:
            break
        if time.monotonic() > deadline:
            sys.exit(f"in MLflow: {found}; expected: {wanted}")
        time.sleep(10)
    print(f"in MLflow, as expected: {found}")


if __name__ == "__main__":
    main(*sys.argv[1:])
