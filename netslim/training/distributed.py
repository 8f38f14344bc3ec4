"""One training in several processes, a GPU each: who takes part, and what they tell each other.

Each process takes its part of every batch, and together they compute what one process computes with the
whole batch: its gradients, and its BatchNorm statistics (`netslim.training.sync_batchnorm`). So a recipe
means the same on any number of GPUs. Outside of `joined` there is one process, and every function here
says so at no cost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from netslim.errors import ConfigError, TrainingError

__all__ = [
    "AsyncFlags",
    "all_reduce_sum",
    "assert_equal_on_all_ranks",
    "parallel",
    "process_group",
    "rank",
    "seed_rank",
    "shard",
    "size",
]


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is. The one with rank 0 writes checkpoints, history and models."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def process_group() -> Iterator[None]:
    """Take part in the training that torchrun has started this process for, for the length of a block.

    Without torchrun's environment variables this is the only process, and nothing is done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"  # NCCL cannot carry what lies on the host, such as an Agreement
    dist.init_process_group(backend)
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(count: int) -> slice:
    """Which of a batch's `count` images are this process's; the parts differ by one image at most.

    Raises:
        ConfigError: some process would get none.
    """
    if count < size():
        remedy = "Make the batches larger, or train on fewer GPUs"
        raise ConfigError(f"too small for {size()} processes", field="batch_size", value=count, remedy=remedy)
    return slice(count * rank() // size(), count * (rank() + 1) // size())


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape, in place. Every process must ask for it."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


def assert_equal_on_all_ranks(what: str, value: int) -> None:
    """Make sure that all processes begin from the same.

    Raises:
        TrainingError: they do not, as when one could not read a file that another could.
    """
    theirs = all_reduce_sum(torch.tensor([value, value * value]))
    if theirs.tolist() != [value * size(), value * value * size()]:
        remedy = "Try again; if it stays so, look whether all processes see the same files"
        raise TrainingError(f"the {what} that was found is not the same for all processes", remedy=remedy)


def parallel(model: nn.Module) -> nn.Module:
    """A module that computes what `model` computes, and whose gradients are the mean of all processes'.

    Its weights are those of rank 0 afterwards.
    """
    if size() == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,  # BatchNorm's statistics are those of the whole batch in each process
        gradient_as_bucket_view=True,
        static_graph=True,  # a parameter that takes no part is looked for in the first step only
    )


def seed_rank(seed: int, step: int) -> None:
    """Give each process dropout of its own, a function of seed, step and rank: a resumed run repeats it.

    One process alone goes on with its generator, whose state is in the checkpoint.
    """
    if size() > 1:
        (number,) = np.random.SeedSequence([seed, step, rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(number) >> 1)  # torch takes signed numbers


class AsyncFlags:
    """What one process wishes, all do in the same step: the one after, so that none waits for the answer."""

    def __init__(self) -> None:
        self._asked = torch.zeros(0)
        self._work: dist.Work | None = None

    def any(self, *wishes: bool) -> tuple[bool, ...]:
        """For each wish: did some process have it when this was last asked? Of one process: has it?"""
        if size() == 1:
            return wishes
        heard = self.last() or (False,) * len(wishes)
        self._asked = torch.tensor(wishes, dtype=torch.int32)
        self._work = dist.all_reduce(self._asked, dist.ReduceOp.MAX, async_op=True)
        return heard

    def last(self) -> tuple[bool, ...]:
        """The answer that is still under way, if one is. To be asked for before the processes part."""
        if self._work is None:
            return ()
        self._work.wait()
        self._work = None
        return tuple(map(bool, self._asked.tolist()))
