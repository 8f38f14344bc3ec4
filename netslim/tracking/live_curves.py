"""Training curves in MLflow during the training, without the training ever waiting for MLflow.

A background process reads the training's history.jsonl and uploads its points. It has its own interpreter, so
neither the import of mlflow nor a server that hangs delays the training. If it fails, `evaluate` uploads the
curves later from the same history.
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
from dataclasses import asdict, dataclass
from pathlib import Path

from netslim.child_process import kill_with_parent
from netslim.tracking.destination import Destination

__all__ = ["live_curves"]

DELAY = 10.0  # seconds before the import of mlflow; the curves of a shorter training come with `evaluate`
EVERY = 5.0  # seconds between two uploads
LONGEST_PAUSE = 60.0  # seconds between two uploads while they fail
GRACE = 1.0  # seconds that the end of a training may wait for the upload of its last points


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
    """Upload the points of `history`, a history.jsonl that grows, for the length of a `with` block.

    The server and the run are those of the environment variables (see `netslim.tracking`); without them
    nothing is uploaded. The end of the block takes `GRACE` seconds at most, or none after SIGTERM. No failure
    of MLflow is raised.

    Args:
        stage: the prefix of the metrics: "base", "sparse" or "fine_tune".
        experiment: the experiment in which the run is made if it does not exist; by default that of
            MLFLOW_EXPERIMENT_NAME.
        delay: seconds before the first upload.
        every: seconds between two uploads.
    """
    destination = Destination.from_environment(experiment)
    if destination is None:
        yield
        return
    order = UploadOrder(
        history=str(history),
        uri=destination.uri,
        experiment=destination.experiment,
        key=destination.key,
        child=f"pass-{pass_index:02d}",
        stage=stage,
        delay=delay,
        every=every,
    )
    process = _start(order)
    try:
        yield
    except SystemExit:  # SIGTERM: the next try of the step uploads what is missing
        if process:
            process.kill()
        raise
    finally:
        if process:
            _end(process)


@dataclass(frozen=True, kw_only=True)
class UploadOrder:
    """What the background process uploads: one line of JSON on its standard input."""

    history: str
    uri: str
    experiment: str
    key: str
    child: str
    stage: str
    delay: float
    every: float


def _start(order: UploadOrder) -> subprocess.Popen[bytes] | None:
    """Start the background process; None where the operating system allows no further process."""
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "netslim.tracking.live_curves"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the training, which then ends this process
        )
    except OSError:
        return None
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it may have ended already
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        process.stdin.flush()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the process's input, after which it ends; a training that is killed closes it, too."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it may have ended already
        process.stdin.close()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """The background process: read the order, then upload every few seconds until the input ends."""
    order = UploadOrder(**json.loads(sys.stdin.buffer.raw.readline()))  # type: ignore[union-attr]
    kill_with_parent(GRACE)  # a training that was killed does not do it
    if _input_ends_within(order.delay):
        return
    uploader = Uploader(order)
    pause, ended = 0.0, False
    while not ended:
        try:
            uploader.upload()
            pause = order.every
        except Exception:  # any failure of MLflow, its server or the network: try again later
            uploader.forget()
            pause = min(max(2 * pause, order.every), LONGEST_PAUSE)
        ended = _input_ends_within(pause)
    with contextlib.suppress(Exception):  # nobody reads the output of this process; `evaluate` tries again
        uploader.upload()


class Uploader:
    """Uploads the epochs of one history, each once."""

    def __init__(self, order: UploadOrder) -> None:
        self.order = order
        self.uploaded_steps: set[int] = set()

    def forget(self) -> None:
        """Ask MLflow again for the points that it has. After a failed request that is uncertain."""
        self.uploaded_steps.clear()

    def upload(self) -> None:
        """Upload the epochs that are not in MLflow.

        Raises:
            TrackingError: the server or database cannot be used.
        """
        epochs = [e for e in _epochs(Path(self.order.history)) if e["step"] not in self.uploaded_steps]
        if not epochs:
            return
        from netslim.tracking.client import connect
        from netslim.tracking.metrics import curve_points
        from netslim.tracking.runs import RunGroup
        from netslim.tracking.write import add_points

        destination = Destination(self.order.uri, self.order.experiment, self.order.key)
        with connect(destination.uri, create=False, retries=1, timeout=5) as client:
            child = RunGroup.open(client, destination).child(self.order.child)
            add_points(client, child, curve_points(self.order.stage, tuple(epochs)))
        self.uploaded_steps.update(int(epoch["step"]) for epoch in epochs)


def _epochs(history: Path) -> list[dict[str, float]]:
    """The complete lines of a history; the training may be writing the last one, or not have begun."""
    if not history.exists():
        return []
    lines = history.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _input_ends_within(seconds: float) -> bool:
    """Wait for the end of standard input, `seconds` at most; whether it has ended."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            return not os.read(sys.stdin.fileno(), 1)
    return False


if __name__ == "__main__":
    main()
