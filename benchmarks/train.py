"""Training speed: netslim beside the loop that everyone copies, each in a process of its own, taking turns.

    python benchmarks/train.py                      # a small VGG, ResNet-20's size, the MNIST MLP
    python benchmarks/train.py vgg --threads 1 --rounds 9 --output benchmarks/results/train

The copied loop is a DataLoader of PIL transforms without workers (its fastest setting on few cores), a
Python loop over modules for the L1 term, and the accuracy read at every step. Both sides train sparsely, with
the same batch size on the same random images; netslim's process keeps the memory it frees, as its training
steps do. A figure is the median over the rounds; in each round everyone trains an epoch. Time on one thread
is CPU seconds, which other work on the machine disturbs least; on several threads it is the clock's. What the
sparsity term costs is seen on one network, one step without it and one with it in turn: two networks that are
alike differ by 1 % already, by where their weights happen to lie.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle, product
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import torch
import torch.nn.functional as F
from provenance import facts, markdown
from torch import nn
from torchvision import transforms

from netslim import models
from netslim.batches import Batch
from netslim.data import DatasetInfo, Split
from netslim.files import write_json
from netslim.loop import Run
from netslim.machine import keep_freed_memory
from netslim.recipe import Recipe

LAM = 1e-4

own = SimpleNamespace()
"""Of a side's process: its clock, the epoch that it trains, and netslim's run."""


@dataclass(frozen=True)
class Case:
    """A network, its images, and what both loops do with them."""

    title: str
    network: str
    arguments: dict[str, float]
    shape: tuple[int, int, int]
    augment: str
    batch_size: int
    images: int
    """In an epoch: enough for about a second."""


CASES = {
    "vgg": Case("VGG-11, width / 8", "vgg11-small", {"width": 0.125}, (32, 32, 3), "pad4flip", 64, 3200),
    "resnet": Case("ResNet, 20 layers", "resnet164", {"depth": 20}, (32, 32, 3), "pad4flip", 64, 640),
    "mlp": Case("MLP 784-500-300-10", "mlp", {}, (28, 28, 1), "none", 256, 25600),
}


def network(case: Case) -> nn.Module:
    height, width, channels = case.shape
    torch.manual_seed(0)
    return models.resolve(
        case.network, num_classes=10, in_channels=channels, image_size=(height, width), **case.arguments
    ).build()


def copied(case: Case, split: Split) -> Callable[[], None]:
    """One epoch as the scripts on GitHub do it."""
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


def ours(case: Case, split: Split, precision: str) -> Run:
    """netslim's loop."""
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
    recipe = Recipe(epochs=10_000, batch_size=case.batch_size, lam=LAM, precision=precision)
    dataset = SimpleNamespace(info=info, split=lambda name: split)
    model = network(case).to(memory_format=torch.channels_last).train()
    return Run(model, dataset, recipe, seed=0, teacher=None, device=torch.device("cpu"))


def batches(run: Run) -> Iterator[Batch]:
    """One epoch's, each when the step before it has been taken."""
    return run.batches.epoch(run.step // run.batches.steps)


def one_epoch(run: Run) -> Callable[[], None]:
    def epoch() -> None:
        for images, labels in batches(run):
            run.advance(images, labels)

    return epoch


def _begin(name: str, case: Case, threads: int) -> None:
    """What a side's process does before its first turn."""
    torch.set_num_threads(threads)
    own.clock = time.process_time if threads == 1 else time.perf_counter
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (case.images, *case.shape), dtype=np.uint8)
    split = Split(images, random.integers(0, 10, case.images))
    if name == "copied":
        own.epoch = copied(case, split)
    else:
        keep_freed_memory()
        own.run = ours(case, split, name)
        own.epoch = one_epoch(own.run)


def seconds() -> float:
    """What an epoch takes this process."""
    begun = own.clock()
    own.epoch()
    return float(own.clock() - begun)


def costs(epochs: int) -> dict[str, float]:
    """By how many percent each sparsity term makes a step longer, in the median."""
    run: Run = own.run
    terms = {"": (0.0, "l1"), "l1": (LAM, "l1"), "proximal": (LAM, "proximal")}
    spent: dict[str, list[float]] = {name: [] for name in terms}
    turns = cycle(terms)
    for _ in range(epochs):
        for images, labels in batches(run):
            name = next(turns)
            run.lam, penalty = terms[name]
            run.recipe = replace(run.recipe, penalty=penalty)
            begun = own.clock()
            run.advance(images, labels)
            spent[name].append(own.clock() - begun)
    bare, *others = (statistics.median(times) for times in spent.values())
    return {
        f"{name} costs %": 100 * (each / bare - 1)
        for name, each in zip(("l1", "proximal"), others, strict=True)
    }


def measure(case: Case, threads: int, rounds: int) -> dict[str, float]:
    """Median images per second of each side, and medians of the ratios within a round."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(ProcessPoolExecutor(1, spawn, _begin, (name, case, threads)))
            for name in ("copied", "fp32", "auto")
        }
        for side in sides.values():
            side.submit(seconds).result()
        spent = [{name: side.submit(seconds).result() for name, side in sides.items()} for _ in range(rounds)]
        terms = sides["auto"].submit(costs, rounds).result()

    def median(value: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(value(each) for each in spent)

    found = {f"{name} images/s": median(lambda s, n=name: case.images / s[n]) for name in sides}
    found |= {f"{name} x": median(lambda s, n=name: s["copied"] / s[n]) for name in ("fp32", "auto")}
    return found | terms


@click.command()
@click.argument("cases", nargs=-1, type=click.Choice(sorted(CASES)))
@click.option("--threads", multiple=True, type=int, default=(1, os.cpu_count()), show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write NAME.json and NAME.md.")
def main(cases: tuple[str, ...], threads: tuple[int, ...], rounds: int, output: Path | None) -> None:
    found = {}
    for name, count in product(cases or CASES, threads):
        found[name, count] = measure(CASES[name], count, rounds)
        click.echo(f"{CASES[name].title}, {count} threads done", err=True)
    header = ("network", "threads", "copied loop", "netslim fp32", "netslim", "faster")
    table = markdown(
        (*header, "L1 costs", "proximal costs"),
        [
            (
                CASES[name].title,
                str(count),
                f"{row['copied images/s']:,.0f}",
                f"{row['fp32 images/s']:,.0f} ({row['fp32 x']:.2f}x)",
                f"{row['auto images/s']:,.0f}",
                f"{row['auto x']:.2f}x",
                f"{row['l1 costs %']:+.1f} %",
                f"{row['proximal costs %']:+.1f} %",
            )
            for (name, count), row in found.items()
        ],
    )
    told = facts("torchvision", threads=" and ".join(map(str, threads)) + " threads")
    lines = "\n".join(f"- {name}: {value}" for name, value in told.items())
    text = f"Images per second in training.\n\n{table}\n\n{lines}"
    print(text)
    if output:
        rows = [{"network": name, "threads": count, **row} for (name, count), row in found.items()]
        write_json(output.with_suffix(".json"), {"facts": told, "rows": rows})
        output.with_suffix(".md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
