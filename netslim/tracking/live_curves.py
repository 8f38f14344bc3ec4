"""Training curves in MLflow while the training runs, without the training ever waiting for MLflow.

A process beside the training reads its history.jsonl and tells MLflow. It has its own interpreter, so neither
importing mlflow nor a server that hangs can hold the training up; and it has no memory of its own, so nothing
is lost with it: what it could not tell, the next `evaluate` tells from the same history.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netslim.tracking.destination import Destination

__all__ = ["live_curves"]

DELAY = 10.0  # seconds; a shorter training is told by `evaluate`, and never pays for importing mlflow
EVERY = 5.0
LONGEST_PAUSE = 60.0
GRACE = 1.0  # what a training waits, at most and once, for the last points to be told


@contextmanager
def live_curves(
    history: Path,
    *,
    pass_index: int,
    stage: str,
    experiment: str = "",
    delay: float = DELAY,
    every: float = EVERY,
) -> Iterator[None]:
    """Tell MLflow the points of `history` (a history.jsonl that is being written) for the length of a block.

    The environment names server and run (MLFLOW_TRACKING_URI and NETSLIM_RUN_KEY or KFP_RUN_ID); without them
    nothing is told. Leaving the block takes `GRACE` seconds at most. No failure of MLflow is ever raised.

    Args:
        stage: the curves' prefix: "base", "sparse" or "fine_tune".
        experiment: where a run is made that is not there yet; MLFLOW_EXPERIMENT_NAME by default.
    """
    place = Destination.from_environment(experiment)
    if place is None:
        yield
        return
    order = {
        "history": str(history),
        "place": [place.uri, place.experiment, place.key],
        "child": f"pass-{pass_index:02d}",
        "stage": stage,
        "delay": delay,
        "every": every,
    }
    teller = _start(order)
    try:
        yield
    finally:
        if teller:
            _end(teller)


def _start(order: dict[str, object]) -> subprocess.Popen[bytes] | None:
    """The process beside the training; None where the machine allows no other."""
    try:
        teller = subprocess.Popen(
            [sys.executable, "-m", "netslim.tracking.live_curves"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the training
        )
    except OSError:
        return None
    assert teller.stdin is not None
    with contextlib.suppress(OSError):
        teller.stdin.write(json.dumps(order).encode() + b"\n")
        teller.stdin.flush()
    return teller


def _end(teller: subprocess.Popen[bytes]) -> None:
    """Closing its input tells it to finish; that also happens when the training is killed."""
    assert teller.stdin is not None
    with contextlib.suppress(OSError):
        teller.stdin.close()
    try:
        teller.wait(GRACE)
    except subprocess.TimeoutExpired:
        teller.kill()
        teller.wait()


def main() -> None:
    """The process beside the training: one line of orders, then tell every few seconds until input ends."""
    order = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr]
    if _input_ends_within(order["delay"]):
        return
    told = _Told(Path(order["history"]), Destination(*order["place"]), order["child"], order["stage"])
    pause, ended = 0.0, False
    while not ended:
        try:
            told.tell()
            pause = order["every"]
        except Exception:  # whatever MLflow, its server or the network does, try again, ever less often
            told.forget()
            pause = min(max(2 * pause, order["every"]), LONGEST_PAUSE)
        ended = _input_ends_within(pause)
    with contextlib.suppress(Exception):
        told.tell()


class _Told:
    """What has been told so far of one history."""

    def __init__(self, history: Path, place: Destination, child: str, stage: str) -> None:
        self.history, self.place, self.child, self.stage = history, place, child, stage
        self.steps: set[int] = set()

    def forget(self) -> None:
        """Ask MLflow again what it has, after a request of which nobody knows what became."""
        self.steps.clear()

    def tell(self) -> None:
        """Tell MLflow the epochs that it does not know yet."""
        epochs = [epoch for epoch in _epochs(self.history) if epoch["step"] not in self.steps]
        if not epochs:
            return
        from netslim.tracking.client import mlflow_at
        from netslim.tracking.metrics import curve_points
        from netslim.tracking.runs import RunGroup
        from netslim.tracking.write import add_points

        with mlflow_at(self.place.uri, create=False, retries=1, timeout=5) as client:
            child = RunGroup.at(client, self.place).child(self.child)
            add_points(client, child, curve_points(self.stage, tuple(epochs)))
        self.steps.update(int(epoch["step"]) for epoch in epochs)


def _epochs(history: Path) -> list[dict[str, float]]:
    """The whole lines of a history that may be being written, or not be there yet."""
    if not history.exists():
        return []
    lines = history.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _input_ends_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            return not os.read(sys.stdin.fileno(), 1)
    return False


if __name__ == "__main__":
    main()
