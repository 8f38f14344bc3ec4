"""Functions of a test module, run in several processes that form a process group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# One process imports torch and forks; each fork is one rank. Every group meets at a port of its own.
LAUNCHER = """
import importlib.util, os, socket, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("cases", sys.argv[1])
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)

import torch
from netslim.training import distributed

torch.set_num_threads(1)

def run_rank(rank, size, calls):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
    with distributed.process_group():
        for call in calls.split(","):
            function, *arguments = call.split(":")
            getattr(cases, function)(Path(sys.argv[2]), *arguments)

for group in sys.argv[3:]:
    size, _, calls = group.partition("=")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    children = []
    for rank in range(int(size)):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                run_rank(rank, size, calls)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit(1)
"""


def run_in_ranks(module: str, folder: Path, *groups: str) -> None:
    """Run functions of a test module in several processes; an error in one of them is raised here.

    Args:
        module: the test module's file.
        folder: the first argument of every function, for its input and output files.
        groups: such as "2=train:l1,train:proximal": in two processes, call `train(folder, "l1")`, then
            `train(folder, "proximal")`.
    """
    command = [sys.executable, "-c", LAUNCHER, module, str(folder), *groups]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=180)
