"""One training in several processes, with one GPU each: their ranks, their shards, and what they exchange.

Each process takes its shard of every batch. Together they compute the same gradients and BatchNorm statistics
(`netslim.training.sync_batchnorm`) as one process with the whole batch, so a recipe means the same on any
number of GPUs. Outside `process_group`, all functions here behave as if there were one process.
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
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0. Rank 0 writes checkpoints, history and models."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started together with this one, for a block.

    Without torchrun's environment variables this is the only process, and nothing changes.

    Raises:
        ConfigError: this machine has fewer GPUs than processes were started on it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        _take_gpu(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"  # NCCL cannot send tensors in host memory, such as AsyncFlags
    dist.init_process_group(backend)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _take_gpu(number: int) -> None:
    """Make a GPU this process's own; a ConfigError if there is none with the number."""
    there = torch.cuda.device_count()
    if number >= there:
        problem = f"process {number + 1} on this machine has no GPU, because there are {there}"
        remedy = "Start one process per GPU, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU"
        raise ConfigError(problem, field="processes", remedy=remedy)
    torch.cuda.set_device(number)


def shard(count: int) -> slice:
    """This process's images of a batch of `count`; the sizes of the shards differ by one at most.

    Raises:
        ConfigError: a process would get no image.
    """
    if count < size():
        remedy = "Make the batches larger, or train on fewer GPUs"
        raise ConfigError(f"too small for {size()} processes", field="batch_size", value=count, remedy=remedy)
    return slice(count * rank() // size(), count * (rank() + 1) // size())


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum a tensor of one shape over all processes, in place; returns it. Every process must call this."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


def assert_equal_on_all_ranks(name: str, value: int) -> None:
    """Check that `value` is the same in all processes. Every process must call this.

    Raises:
        TrainingError: it is not, for example because a file was readable for some processes only.
    """
    sums = all_reduce_sum(torch.tensor([value, value * value]))
    if sums.tolist() != [value * size(), value * value * size()]:
        remedy = "Try again; if it fails again, check that all processes see the same files"
        raise TrainingError(f"the {name} is not the same in all processes", remedy=remedy)


def parallel(model: nn.Module) -> nn.Module:
    """A module that computes the same as `model`, with gradients averaged over all processes.

    With several processes, `model` gets the weights of rank 0.
    """
    if size() == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,  # each process has BatchNorm statistics of the whole batch
        gradient_as_bucket_view=True,
        static_graph=True,  # parameters without a gradient are searched for in the first step only
    )


def seed_rank(seed: int, step: int) -> None:
    """Seed torch by seed, step and rank: dropout differs between processes, and a resumed run repeats it.

    A single process is not seeded here: the state of its generator is in the checkpoint.
    """
    if size() > 1:
        (number,) = np.random.SeedSequence([seed, step, rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(number) >> 1)  # torch takes signed numbers


class AsyncFlags:
    """Combine boolean flags over all processes. Results come one call later, so that no process waits."""

    def __init__(self) -> None:
        self._flags = torch.zeros(0)
        self._work: dist.Work | None = None

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag: was it set in some process at the last call? With one process: is it set?

        Every process must call this, with the same number of flags.
        """
        if size() == 1:
            return flags
        result = self.last() or (False,) * len(flags)
        self._flags = torch.tensor(flags, dtype=torch.int32)
        self._work = dist.all_reduce(self._flags, dist.ReduceOp.MAX, async_op=True)
        return result

    def last(self) -> tuple[bool, ...]:
        """The result of the last `any`, if it was not returned yet. Call this before the processes end."""
        if self._work is None:
            return ()
        self._work.wait()
        self._work = None
        return tuple(map(bool, self._flags.tolist()))
