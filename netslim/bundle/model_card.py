"""The model card: README.md of a bundle."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netslim
from netslim.report.tables import markdown, scaled, times
from netslim.results.run_results import PassResult, RunResults

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["model_card", "versions"]


def model_card(row: PassResult, ledger: RunResults, info: DatasetInfo, int8: dict[str, Any]) -> str:
    """The card of the pass `row`, as Markdown."""
    architecture = ledger.constants.get("architecture", "a network")
    sizes = ", ".join(f"{count:,} {name}" for name, count in info.sizes.items())
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (info.mean, info.std))
    height, width = info.image_size
    return f"""\
# {architecture} on {info.title}, {row.title}

An image classifier for {len(info.classes)} classes, made slim by network slimming (Liu et al., ICCV 2017): \
{_reached(row, ledger)}

{markdown(ledger)}

## Use

- `model.preproc.onnx` takes the pixels themselves, uint8 [batch, height, width, {info.channels}] of any
  size, as `images` and gives `probabilities`: use it unless you have a reason not to.
- `model.onnx` takes float32 images [batch, {info.channels}, {height}, {width}] as `input` and gives `logits`
  [batch, {len(info.classes)}]. Pixels from 0 to 255 become (x / 255 - mean) / std, with mean {mean} and std
  {std} by channel.
- `model.int8.onnx`: {int8.get("reason", "not made")}.
- Line k of `labels.txt`, counted from 0, is the class of output k.

`netslim verify` checks all of this bundle.

## Data

{info.title}: {sizes} images. Errors are of the test images, which nothing was chosen by.

## Limits

- It knows these {len(info.classes)} classes and gives one of them for whatever it is shown.
- It was measured on images like those it was trained on, and on nothing else.
- Pruning does not cost all classes alike: measure those that matter to you.

## Licence

None is claimed here: the licences of the data and of the network's code and weights hold.
`samples.safetensors` contains a few test images under the licence of the data.

## Origin

{"".join(f"- {name} {told}" + chr(10) for name, told in versions().items())}- ONNX SHA-256 {row.onnx_sha256}
"""


def versions() -> dict[str, str]:
    """What made the bundle: packages by name, and the revision of the source where it is known."""
    found = {"netslim": netslim.__version__}
    for name in ("torch", "onnx", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if revision := _revision():
        found["git revision"] = revision
    return found


def _reached(row: PassResult, ledger: RunResults) -> str:
    wide = ledger.wide
    if wide is None or row.index == 0:
        return f"this is the wide network, {row.params:,} parameters and {row.error:.2f} % test error."
    params, flops = wide.params / max(1, row.params), wide.flops / max(1, row.flops)
    reference = ledger.allowed_from
    against = f", {row.error - reference[1]:+.2f} points against {reference[0]}" if reference else ""
    return (
        f"{times(params)} fewer parameters ({row.params:,} of {wide.params:,}), {times(flops)} fewer FLOPs "
        f"({scaled(row.flops)} of {scaled(wide.flops)}), {row.error:.2f} % test error{against}."
    )


def _revision() -> str:
    """NETSLIM_REVISION, or what git says of netslim's own source."""
    if told := os.environ.get("NETSLIM_REVISION"):
        return told
    root = Path(netslim.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
