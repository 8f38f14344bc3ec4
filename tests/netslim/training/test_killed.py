"""A training that is killed twenty times at random moments comes to the weights of one that never was."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netslim import data
from netslim.storage import s3

KILLS = 20
# One process imports torch, and each training is a fork of it, so that a new start costs milliseconds.
SERVER = """
import os, sys, torch
from netslim.training.checkpoint import weights_digest
from netslim.data import open_dataset
from netslim.training.recipe import Recipe
from netslim.storage.s3 import is_s3
from netslim.training.train import train

torch.set_num_threads(1)

def training(data, root, out):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Dropout(0.3),
        torch.nn.Flatten(), torch.nn.Linear(144, 10),
    )
    recipe = Recipe(epochs=4, batch_size=50, threads=1, lambda_=0.01, penalty="proximal", precision="fp32")
    every = 0.05 if is_s3(root) else 0
    result = train(model, open_dataset(data), recipe, seed=3, checkpoint_dir=root, checkpoint_every=every)
    with open(out, "w") as stream:
        stream.write(f"{result.error} {weights_digest(model)}")

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            training(*line.split())
            code = 0
        except SystemExit as stopped:  # by SIGTERM
            code = stopped.code
        finally:
            os._exit(code)  # the usual end of a process takes a second for all objects of torch
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Trainings:
    """Starts trainings, kills them, and says how they ended."""

    def __init__(self, process: subprocess.Popen[str], dataset: Path) -> None:
        self.process, self.dataset = process, dataset

    def run(self, root: str, out: Path, *, kill_after: float | None = None, by: int = signal.SIGKILL) -> int:
        assert self.process.stdin is not None
        print(self.dataset, root, out, file=self.process.stdin, flush=True)
        child = self._number()
        if kill_after is not None:
            time.sleep(kill_after)
            subprocess.run(["kill", f"-{by}", str(child)], check=False, stderr=subprocess.DEVNULL)
        return self._number()

    def _number(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextmanager
def trainings(dataset: Path) -> Iterator[Trainings]:
    command = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield Trainings(process, dataset)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(params=["a folder", "a bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "a folder":
        return str(tmp_path / "kept")
    return f"s3://{request.getfixturevalue('bucket')}/kept"


def test_killed_twenty_times_and_still_the_same(root: str, tmp_path: Path) -> None:
    data.prepare("digits", tmp_path / "digits")
    chance = random.Random(0)
    with trainings(tmp_path / "digits") as under:
        assert under.run(str(tmp_path / "unbroken"), tmp_path / "expected") == 0
        kills, finished, left = 0, 0, set[str]()
        while kills < KILLS or not finished:
            by = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            after = chance.uniform(0.03, 0.25) if kills < KILLS else None
            code = under.run(root, tmp_path / "found", kill_after=after, by=by)
            if code != 0:
                assert code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)
                kills += 1
                continue
            finished += 1
            assert (tmp_path / "found").read_text() == (tmp_path / "expected").read_text()
            left |= forget(root)
    assert kills == KILLS
    assert left, "the last checkpoints of a training that ended are there"


def forget(root: str) -> set[str]:
    """Remove a training's checkpoints, so that the next one begins anew; returns their names."""
    if s3.is_s3(root):
        names = set(s3.names(root))
        for name in names:
            s3.delete(f"{root}/{name}")
        return names
    files = [file for file in Path(root).iterdir() if file.suffix == ".safetensors"]
    for file in files:
        file.unlink()
    return {file.name for file in files}
