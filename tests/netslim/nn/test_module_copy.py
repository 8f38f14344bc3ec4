"""What modules keep besides tensors: copied, shared where a copy makes no sense, or refused by name."""

from __future__ import annotations

import io
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

import netslim
from netslim.errors import ModelError
from netslim.nn.module_copy import modules_by_path
from tests.helpers.networks import Chain

IMAGES = torch.zeros(2, 3, 8, 8)


class Reader(threading.Thread):
    """A thread of the model's own, with a queue."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.jobs: queue.Queue[int] = queue.Queue()


class Pool(ThreadPoolExecutor):
    """A pool of the model's own."""


SHARED: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock,
    "event": threading.Event,
    "thread": lambda: threading.Thread(target=print),
    "thread of the model's own": Reader,
    "pool": lambda: ThreadPoolExecutor(1),
    "pool of the model's own": lambda: Pool(1),
    "queue": queue.Queue,
    "simple queue": queue.SimpleQueue,
    "socket": socket.socket,
    "process": lambda: subprocess.Popen([sys.executable, "-c", ""]),
    "future": Future,
    "file": lambda: open(os.devnull),  # noqa: SIM115
    "generator": lambda: (number for number in range(3)),
    "module": lambda: io,
}


class Holder:
    """A class of the model's own."""

    def __init__(self, value: Any) -> None:
        self.inner, self.numbers = {"value": [value]}, [1, 2]


@pytest.mark.parametrize("name", SHARED)
def test_what_cannot_be_copied_is_shared_and_its_containers_are_copied(name: str) -> None:
    model: Any = Chain()
    value = SHARED[name]()
    model.b.helper, model.b.helpers, model.c.holder = value, [value, [1]], Holder(value)
    slim = netslim.prune(model, IMAGES, percent=0.5).model
    assert slim.b.helper is slim.b.helpers[0] is slim.c.holder.inner["value"][0] is value
    assert slim.b.helpers is not model.b.helpers
    assert slim.c.holder.numbers is not model.c.holder.numbers
    getattr(value, "wait" if name == "process" else "close", bool)()


def test_objects_that_hold_threads_are_copied_around_them() -> None:
    """Also where the copy of the object begins before its thread is met."""
    model: Any = Chain()
    model.b.holder, model.b.pair = Holder(Reader()), (Holder(threading.Thread()), [ThreadPoolExecutor(1)])
    slim = netslim.prune(model, IMAGES).model
    assert slim.b.holder is not model.b.holder
    assert slim.b.holder.numbers == [1, 2]
    assert slim.b.holder.numbers is not model.b.holder.numbers
    assert slim.b.holder.inner["value"][0] is model.b.holder.inner["value"][0]
    assert slim.b.pair[0].inner["value"][0] is model.b.pair[0].inner["value"][0]
    assert slim.b.pair[1] is not model.b.pair[1]
    assert slim.b.pair[1][0] is model.b.pair[1][0]


def test_a_thread_of_a_model_runs_for_the_slim_one_as_well() -> None:
    model: Any = Chain()
    with ThreadPoolExecutor(1) as model.pool:
        slim: Any = netslim.prune(model, IMAGES).model
        assert slim.pool.submit(lambda: 3).result(timeout=30) == 3


class WithLock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lock, self.names = threading.Lock(), ["one"]
        self.norm = nn.BatchNorm2d(2)


class WithState(WithLock):
    """`copy` is given its attributes by a method of its own, and a lock is among them."""

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


@pytest.mark.parametrize("kind", [WithLock, WithState])
def test_modules_that_deepcopy_copies_share_their_locks(kind: type[WithLock]) -> None:
    """Those with a state of their own, and those in a list, which are no modules of the network."""
    model: Any = Chain()
    model.own, model.others = kind(), [kind()]
    model.others[0].itself = model.others
    slim: Any = netslim.prune(model, IMAGES).model
    for before, copied in ((model.own, slim.own), (model.others[0], slim.others[0])):
        assert copied is not before
        assert copied.lock is before.lock
        assert copied.names == ["one"]
        assert copied.names is not before.names
        assert isinstance(copied.norm.weight, nn.Parameter)
        assert copied.norm.weight is not before.norm.weight
    assert slim.others[0].itself is slim.others


def test_an_activation_with_its_history_is_copied_without_it() -> None:
    model: Any = Chain()
    kept = model.a(IMAGES)
    model.b.kept, model.b.all = kept, [kept, (kept,)]
    slim = netslim.prune(model, IMAGES, percent=0.5).model
    assert torch.equal(slim.b.all[1][0], kept)
    assert slim.b.all[0] is not kept
    assert not slim.b.kept.requires_grad


class Module(nn.Module):
    """A module with a `__deepcopy__` of its own, which fails."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise TypeError("not me\nat all")


def test_a_module_that_cannot_be_copied_is_refused_by_name() -> None:
    model = Chain()
    model.b.own = Module()
    with pytest.raises(ModelError) as caught:
        netslim.prune(model, IMAGES, percent=0.5)
    assert "b.own: a Module cannot be copied (not me)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modules_have_the_paths_and_the_order_of_torch() -> None:
    shared = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1))
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(nn.BatchNorm2d(1), shared, shared[1])})
    model["b"].register_module("none", None)
    found = modules_by_path(model)
    assert list(found.items()) == list(model.named_modules())
    assert modules_by_path(shared[0]) == {"": shared[0]}
