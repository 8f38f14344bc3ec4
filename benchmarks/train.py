"""Training speed: netslim beside a common training loop, each in a process of its own, taking turns.

    python -m benchmarks.train                      # a small VGG, ResNet-20's size, the MNIST MLP
    python -m benchmarks.train vgg --threads 1 --rounds 9

The common loop is a DataLoader of PIL transforms without workers (its fastest setting on few cores), a
Python loop over modules for the L1 term, and the accuracy read at every step. Both sides train with sparsity,
with the same batch size on the same random images. netslim's process keeps the memory that it frees, as its
training steps do. In each round every side trains one epoch; the median over the rounds is reported. With one
thread the time is CPU seconds, because other work on the machine disturbs them least; with several threads
it is wall-clock time. The cost of the sparsity terms is measured on one network, whose steps use no term, the
L1 term and the proximal step in turn: two equal networks differ by 1 % already, because their weights have
different addresses.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms

from benchmarks.provenance import bullets, facts, markdown
from benchmarks.stored import output_option, save
from netslim import models
from netslim.data import DatasetInfo, Split
from netslim.training.device import keep_freed_memory
from netslim.training.loaders.in_memory import Batch, Selection
from netslim.training.recipe import Recipe
from netslim.training.trainer import Trainer

LAM = 1e-4


@dataclass(frozen=True)
class Case:
    """A network and its images, for both loops."""

    title: str
    network: str
    arguments: dict[str, float]
    shape: tuple[int, int, int]
    augment: str
    batch_size: int
    images: int
    """Images of an epoch, which takes about a second."""


@dataclass(frozen=True)
class Side:
    """The state of one side's process."""

    clock: Callable[[], float]
    epoch: Callable[[], None]
    run: Trainer | None
    """The run of netslim; the common loop has none."""


_side: Side
"""Set once in each side's process, by `_start`."""


CASES = {
    "vgg": Case("VGG-11, width / 8", "vgg11-small", {"width": 0.125}, (32, 32, 3), "pad4flip", 64, 3200),
    "resnet": Case("ResNet, 20 layers", "resnet164", {"depth": 20}, (32, 32, 3), "pad4flip", 64, 640),
    "mlp": Case("MLP 784-500-300-10", "mlp", {}, (28, 28, 1), "none", 256, 25600),
}


def network(case: Case) -> nn.Module:
    height, width, channels = case.shape
    torch.manual_seed(0)
    return models.build(
        models.resolve(
            case.network, num_classes=10, in_channels=channels, image_size=(height, width), **case.arguments
        )
    )


def common_loop(case: Case, split: Split) -> Callable[[], None]:
    """One epoch as in most public training scripts."""
    height, _, channels = case.shape
    steps: list[Callable[..., object]] = [transforms.ToPILImage()]
    if case.augment == "pad4flip":
        steps += [transforms.Pad(4), transforms.RandomCrop(height), transforms.RandomHorizontalFlip()]
    steps += [transforms.ToTensor(), transforms.Normalize((0.5,) * channels, (0.25,) * channels)]
    transform = transforms.Compose(steps)
    data = [(image, int(label)) for image, label in zip(split.images, split.labels, strict=True)]

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = data[index]
            return transform(image), label

    loader = torch.utils.data.DataLoader(Images(), batch_size=case.batch_size, shuffle=True)
    model = network(case).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def epoch() -> None:
        correct = 0
        for images, labels in loader:
            optimizer.zero_grad()
            output = model(images)
            loss = F.cross_entropy(output, labels)
            correct += (
                output.data.max(1, keepdim=True)[1].eq(labels.view_as(output.argmax(1)[:, None])).sum().item()
            )
            loss.backward()
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                    module.weight.grad.data.add_(LAM * torch.sign(module.weight.data))
            optimizer.step()

    return epoch


def netslim_run(case: Case, split: Split, precision: str) -> Trainer:
    """The training of netslim."""
    height, width, channels = case.shape
    info = DatasetInfo(
        name="random",
        title="random",
        classes=tuple("0123456789"),
        image_size=(height, width),
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        sizes={"train": len(split)},
        augment=case.augment,
        sha256={},
    )
    recipe = Recipe(epochs=10_000, batch_size=case.batch_size, lambda_=LAM, precision=precision)
    dataset = SimpleNamespace(info=info, split=lambda name: split)
    model = network(case).to(memory_format=torch.channels_last).train()
    return Trainer(model, dataset, recipe, seed=0, teacher=None, device=torch.device("cpu"))


def batches(run: Trainer) -> Iterator[Batch | Selection]:
    """The batches of one epoch; each is made after the step before it."""
    return run.units(run.step // run.loader.steps)


def one_epoch(run: Trainer) -> Callable[[], None]:
    def epoch() -> None:
        for batch in batches(run):
            run.train_step(batch)

    return epoch


def _start(name: str, case: Case, threads: int) -> None:
    """Prepare a side's process."""
    global _side
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (case.images, *case.shape), dtype=np.uint8)
    split = Split(images, random.integers(0, 10, case.images))
    if name == "copied":
        _side = Side(clock, common_loop(case, split), None)
    else:
        keep_freed_memory()
        run = netslim_run(case, split, name)
        _side = Side(clock, one_epoch(run), run)


def seconds() -> float:
    """Time of one epoch in this process."""
    begun = _side.clock()
    _side.epoch()
    return _side.clock() - begun


def costs(epochs: int) -> dict[str, float]:
    """By how many percent each sparsity term makes a step longer, in the median."""
    run = _side.run
    assert run, "the common loop has no terms to compare"
    terms = {"": (0.0, "l1"), "l1": (LAM, "l1"), "proximal": (LAM, "proximal")}
    spent: dict[str, list[float]] = {name: [] for name in terms}
    turns = cycle(terms)
    for _ in range(epochs):
        for batch in batches(run):
            name = next(turns)
            run.lambda_, penalty = terms[name]
            run.runner.recipe = replace(run.recipe, penalty=penalty)
            begun = _side.clock()
            run.train_step(batch)
            spent[name].append(_side.clock() - begun)
    without, *others = (statistics.median(times) for times in spent.values())
    return {
        f"{name} costs %": 100 * (each / without - 1)
        for name, each in zip(("l1", "proximal"), others, strict=True)
    }


def measure(case: Case, threads: int, rounds: int) -> dict[str, float]:
    """Median images per second of each side, and medians of the ratios within a round."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(ProcessPoolExecutor(1, spawn, _start, (name, case, threads)))
            for name in ("copied", "fp32", "auto")
        }
        for side in sides.values():
            side.submit(seconds).result()
        spent = [{name: side.submit(seconds).result() for name, side in sides.items()} for _ in range(rounds)]
        terms = sides["auto"].submit(costs, rounds).result()

    def median(value: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(value(each) for each in spent)

    figures = {f"{name} images/s": median(lambda s, n=name: case.images / s[n]) for name in sides}
    figures |= {f"{name} x": median(lambda s, n=name: s["copied"] / s[n]) for name in ("fp32", "auto")}
    return figures | terms


def page(result: Mapping[str, Any]) -> str:
    header = ("network", "threads", "common loop", "netslim fp32", "netslim", "faster")
    rows = [
        (
            CASES[row["network"]].title,
            str(row["threads"]),
            f"{row['copied images/s']:,.0f}",
            f"{row['fp32 images/s']:,.0f} ({row['fp32 x']:.2f}x)",
            f"{row['auto images/s']:,.0f}",
            f"{row['auto x']:.2f}x",
            f"{row['l1 costs %']:+.1f} %",
            f"{row['proximal costs %']:+.1f} %",
        )
        for row in result["rows"]
    ]
    table = markdown((*header, "cost of L1", "cost of proximal"), rows)
    return f"Images per second in training.\n\n{table}\n\n{bullets(result['facts'])}"


@click.command()
@click.argument("cases", nargs=-1, type=click.Choice(sorted(CASES)))
@click.option("--threads", multiple=True, type=int, default=(1, os.cpu_count()), show_default=True)
@click.option("--rounds", default=7, show_default=True)
@output_option
def main(cases: tuple[str, ...], threads: tuple[int, ...], rounds: int, output: Path | None) -> None:
    rows = []
    for name, count in product(cases or CASES, threads):
        rows.append({"network": name, "threads": count, **measure(CASES[name], count, rounds)})
        click.echo(f"{CASES[name].title}, {count} threads done", err=True)
    used = " and ".join(map(str, threads))
    origin = facts("torchvision", threads="1 thread" if used == "1" else f"{used} threads")
    result = {"facts": origin, "rows": rows}
    click.echo(page(result))
    save(result, "train", output)


if __name__ == "__main__":
    main()
