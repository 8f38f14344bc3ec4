"""Images per second of training on the GPU: netslim, the loop that is copied everywhere, and single options.

    python -m benchmarks.gpu.speed SECONDS

Both sides train with the L1 term on random images of CIFAR's size. The copied loop has eight workers that
transform images with PIL, pinned memory, autocast, a Python loop over modules for the L1 term, and reads the
number of right answers at every step. Rows come in order of worth.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netslim
from benchmarks.gpu.common import SMOKE, Rows, device, graphs_on_a_cpu, network, random_images
from benchmarks.gpu.options import OPTIONS
from netslim.training.device import model_on_device
from netslim.training.recipe import Recipe
from netslim.training.trainer import Trainer

NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "VGG-19": ("vgg11-small", {"width": 0.125}) if SMOKE else ("vgg19", {}),
    "ResNet-164": ("resnet164", {"depth": 11} if SMOKE else {}),
    "DenseNet-40": ("densenet40", {"depth": 10} if SMOKE else {}),
}
BATCHES = (16,) if SMOKE else (64, 256, 1024)
GOALS = {
    ("VGG-19", 64): 35_000, ("VGG-19", 256): 70_000, ("VGG-19", 1024): 100_000,
    ("ResNet-164", 64): 5_600, ("ResNet-164", 256): 10_800, ("ResNet-164", 1024): 13_000,
    ("DenseNet-40", 64): 7_700, ("DenseNet-40", 256): 10_300, ("DenseNet-40", 1024): 11_000,
}  # fmt: skip
"""Images per second on an H200 in bf16."""

SECONDS = 0.05 if SMOKE else 0.8
"""The length of one measurement, after the warm-up."""


class Measurements:
    """The measurements of one process, on the same images."""

    def __init__(self) -> None:
        self.data = random_images(200 if SMOKE else 20_000)
        image = torch.zeros(1, 3, 32, 32)
        self.flops = {name: netslim.count(self.network(name), image).flops for name in NETWORKS}
        self.peak = self._peak()

    def network(self, name: str) -> nn.Module:
        built, arguments = NETWORKS[name]
        return network(built, self.data.info, **arguments)

    def _peak(self) -> float:
        """FLOP/s of a large matrix product in bf16."""
        size = 128 if SMOKE else 8192
        a, b = (torch.randn(size, size, device=device(), dtype=torch.bfloat16) for _ in range(2))
        a @ b
        rate = self._rate(lambda: a @ b, 1)
        return 2.0 * size**3 * rate

    def _rate(self, step: Callable[[], object], images: int) -> float:
        """Images per second of `step`, which is given some runs first."""
        for _ in range(1 if SMOKE else 8):
            step()
        _wait()
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < SECONDS:
            for _ in range(1 if SMOKE else 10):
                step()
                count += 1
            _wait()
        return count * images / (time.perf_counter() - begun)

    def result(self, name: str, batch: int, rate: float) -> dict[str, Any]:
        found: dict[str, Any] = {"images/s": round(rate)}
        if device().type == "cuda":
            # The backward pass takes twice the FLOPs of the forward pass.
            found["share of peak"] = round(3 * self.flops[name] * rate / self.peak, 4)
            found["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            torch.cuda.reset_peak_memory_stats()
        return found

    def ours(self, name: str, batch: int, *, precision: str, graphs: bool = True) -> dict[str, Any]:
        model = self.network(name)
        settings = Recipe(epochs=1000, batch_size=batch, lambda_=1e-4, precision=precision, lr=0.01)
        with model_on_device(model, device()):
            model.train()
            training = Trainer(
                model, self.data, settings, seed=0, teacher=None, device=device(), graphs=graphs
            )
            training.runner.choose_precision(step=0, lambda_=training.lambda_)
            units = self._units(training)
            with training.runner.products():
                rate = self._rate(lambda: training.train_step(next(units)), batch)
            training.runner.close()
        trial = {key: round(value, 3) for key, value in training.runner.trial.items()}
        return {
            **self.result(name, batch, rate),
            "precision used": training.runner.precision,
            "trial ms": trial,
        }

    def _units(self, training: Trainer) -> Iterator[Any]:
        epoch = 0
        while True:
            yield from training.units(epoch)
            epoch += 1

    def copied(self, name: str, batch: int, *, bf16: bool) -> dict[str, Any]:
        model = self.network(name).to(device()).train()
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True
        )
        batches = _loader(self.data.split("train"), batch)
        right = [0]

        def step() -> None:
            images, labels = (each.to(device(), non_blocking=True) for each in next(batches))
            optimizer.zero_grad()
            with torch.autocast(device().type, dtype=torch.bfloat16, enabled=bf16):
                outputs = model(images)
                loss = F.cross_entropy(outputs, labels)
            right[0] += int(outputs.data.max(1)[1].eq(labels).sum().item())
            loss.backward()  # type: ignore[no-untyped-call]
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    assert module.weight.grad is not None
                    module.weight.grad.data.add_(1e-4 * torch.sign(module.weight.data))
            optimizer.step()

        rate = self._rate(step, batch)
        return self.result(name, batch, rate)


def _wait() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def _loader(split: Any, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of a DataLoader with PIL transforms."""
    from torchvision import transforms

    changes = [transforms.ToPILImage(), transforms.Pad(4), transforms.RandomCrop(32)]
    changes += [transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    transform = transforms.Compose([*changes, transforms.Normalize((0.5,) * 3, (0.25,) * 3)])

    class Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return len(split)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return transform(split.images[index]), int(split.labels[index])

    sampler = torch.utils.data.RandomSampler(Images(), replacement=True, num_samples=10**8)
    workers = 0 if SMOKE else 8
    return iter(
        torch.utils.data.DataLoader(
            Images(), batch_size=batch, sampler=sampler, num_workers=workers, pin_memory=not SMOKE
        )
    )


def main(seconds: float) -> None:
    rows, runs = Rows("speed", seconds), Measurements()
    rows.write(what="peak", TFLOPs=round(runs.peak / 1e12, 1))
    mixed = "fp32" if SMOKE else "bf16"
    with graphs_on_a_cpu():
        for batch in BATCHES:
            for name in NETWORKS:
                known: dict[str, Any] = {"network": name, "batch": batch}
                goal = GOALS.get((name, batch))
                ours = partial(runs.ours, name, batch, precision=mixed)
                rows.measure("netslim", ours, **known, precision=mixed, goal=goal)
                if not SMOKE or name == "VGG-19":
                    rows.measure(
                        "copied loop",
                        partial(runs.copied, name, batch, bf16=not SMOKE),
                        **known,
                        precision=mixed,
                    )
                if not SMOKE:
                    rows.measure("netslim, no graph", partial(ours, graphs=False), **known, precision=mixed)
        for name in NETWORKS if not SMOKE else ("VGG-19",):
            for option, switched_on in OPTIONS.items():
                with switched_on():
                    rows.measure(
                        "option",
                        partial(runs.ours, name, BATCHES[0], precision="bf16"),
                        network=name,
                        batch=BATCHES[0],
                        precision="bf16",
                        option=option,
                    )
        for name in NETWORKS if not SMOKE else ():
            for precision in ("auto", "tf32", "fp32"):
                rows.measure(
                    "netslim",
                    partial(runs.ours, name, BATCHES[0], precision=precision),
                    network=name,
                    batch=BATCHES[0],
                    precision=precision,
                )


if __name__ == "__main__":
    main(float(sys.argv[1]))
