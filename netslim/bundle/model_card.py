"""Write the model card: README.md of a bundle."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netslim
from netslim.bundle.texts import markdown_text
from netslim.report.tables import markdown, scaled, times
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["model_card", "versions"]


def model_card(results: RunResults, info: DatasetInfo, int8: Mapping[str, Any]) -> str:
    """The card of the last pass of `results`, as Markdown.

    Args:
        int8: the `QuantizationResult` of the pass as JSON.
    """
    last = results.rows[-1]
    architecture = markdown_text(results.constants.get("architecture", "a network"))
    title = markdown_text(info.title)
    sizes = ", ".join(f"{count:,} {markdown_text(name)}" for name, count in info.sizes.items())
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (info.mean, info.std))
    height, width = info.image_size
    return f"""\
# {architecture} on {title}, {markdown_text(last.title)}

An image classifier for {len(info.classes)} classes, pruned by network slimming (Liu et al., ICCV 2017): \
{_reached(last, results)}

{markdown(results)}

## Use

- `model.preproc.onnx` takes pixels of any size as `images`, uint8 [batch, height, width, {info.channels}],
  and gives `probabilities`. Use this one by default.
- `model.onnx` takes float32 images [batch, {info.channels}, {height}, {width}] as `input` and gives `logits`
  [batch, {len(info.classes)}]. Pixels from 0 to 255 become (x / 255 - mean) / std, with mean {mean} and std
  {std} by channel.
- `model.int8.onnx`: {markdown_text(int8.get("reason", "not made"))}.
- Line k of `labels.txt`, counted from 0, is the class of output k.

`netslim verify` checks this bundle.

## Data

{title}: {sizes} images. Errors are measured on the test images. {_choice(info)}

## Limits

- The model gives one of these {len(info.classes)} classes for every image, also for images of other things.
- It was measured on images of the same kind as the training images only.
- Pruning can affect some classes more than others. Measure the classes that matter to you.

## Licence

This card grants none. The licences of the data and of the network's code and weights apply.
`samples.safetensors` contains a few test images under the licence of the data.

## Origin

{_origin()}- ONNX SHA-256 {last.onnx_sha256}
"""


def versions() -> dict[str, str]:
    """The versions of the packages that made the bundle, and the git revision where it is known."""
    made_by = {"netslim": netslim.__version__}
    for name in ("torch", "onnx", "onnxruntime"):
        try:
            made_by[name] = version(name)
        except PackageNotFoundError:
            continue
    if revision := _revision():
        made_by["git revision"] = revision
    return made_by


def _origin() -> str:
    return "".join(f"- {name} {markdown_text(text)}\n" for name, text in versions().items())


def _choice(info: DatasetInfo) -> str:
    """Whether the test error decided anything: the stopping rule uses validation images where they exist."""
    if "val" in info.sizes:
        return "No choice was made by them."
    return "Without validation images, the last pass and the best model were chosen by the same errors."


def _reached(row: PassResult, results: RunResults) -> str:
    """Size and error of the pass in one sentence, in relation to the wide network where it was pruned."""
    wide = results.reference_size
    if wide is None or row.index == 0:
        error = row.errors.test
        return f"this is the wide network, {row.size.params:,} parameters and {error:.2f} % test error."
    params, flops = wide.params / max(1, row.size.params), wide.flops / max(1, row.size.flops)
    reference = results.reference_error
    against = (
        f", {row.errors.test - reference.error:+.2f} points against {reference.name}" if reference else ""
    )
    return (
        f"{times(params)} fewer parameters ({row.size.params:,} of {wide.params:,}), "
        f"{times(flops)} fewer FLOPs ({scaled(row.size.flops)} of {scaled(wide.flops)}), "
        f"{row.errors.test:.2f} % test error{against}."
    )


def _revision() -> str:
    """NETSLIM_REVISION, or the git revision of netslim's own source; empty where neither exists."""
    if revision := os.environ.get("NETSLIM_REVISION"):
        return revision
    root = Path(netslim.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
