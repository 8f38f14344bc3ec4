"""A good bundle passes; a spoilt or hostile one fails with a sentence, whatever is done to it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file

from netslim.bundle.layout import LIMITS, SUMS, seal
from netslim.bundle.verify import CheckResult, verify
from netslim.errors import NetslimError


def verdict(folder: Path) -> tuple[bool, str]:
    """Whether it is good, and the sentence of the first answer that is not."""
    findings = verify(folder)
    assert all(isinstance(found, CheckResult) and found.told for found in findings)
    bad = [found for found in findings if not found.good]
    return not bad, bad[0].told if bad else ""


def test_what_the_pipeline_makes_is_good(made: Path) -> None:
    assert verdict(made) == (True, "")
    # The list is what coreutils read, too.
    checked = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=made, capture_output=True)
    assert checked.returncode == 0


@pytest.mark.parametrize("module", ["verify", "probe", "bench", "publish", "triton"])
def test_nothing_that_reads_a_bundle_loads_torch(module: str) -> None:
    code = f"import netslim.bundle.{module}, sys; assert not {{'torch', 'mlflow', 'kfp'}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_its_packages_nothing_is_said_of_the_bundle(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(NetslimError, match=r"verify: needs onnx: pip install 'netslim\[export\]'"):
        verify(made)


def edit_json(name: str, change: Callable[[dict], None]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return act


def edit_model(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    """Change the model as somebody would who wants it believed: with its own size and checksum."""

    def act(folder: Path) -> None:
        proto = onnx.load(folder / "model.onnx", load_external_data=False)
        change(proto)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        seal(folder)
        sums = dict(reversed(line.split("  ")) for line in (folder / SUMS).read_text().splitlines())
        value = json.loads((folder / "metrics.json").read_text())
        value |= {"onnx_sha256": sums["model.onnx"], "onnx_bytes": (folder / "model.onnx").stat().st_size}
        (folder / "metrics.json").write_text(json.dumps(value))

    return act


def external(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def other_domain(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].domain = "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))


def other_weights(proto: onnx.ModelProto) -> None:
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 4)
    tensor.raw_data = (onnx.numpy_helper.to_array(tensor) * np.float32(1.1)).tobytes()


def other_samples(folder: Path) -> None:
    arrays = load_file(folder / "samples.safetensors")
    save_file(arrays | {"input": arrays["input"][:, :, :4]}, folder / "samples.safetensors")


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (edit_json("metrics.json", lambda v: v["model"].update(params=7)), "metrics.json: says params 7"),
        (edit_json("metrics.json", lambda v: v.update(onnx_weights=7)), "says 7 weights"),
        (edit_json("slimming.json", lambda v: v["plan"]["layers"].clear()), "digest is not that of its plan"),
        (edit_json("signature.json", lambda v: v["inputs"][0].update(name="x")), "its inputs are not those"),
        (edit_json("metrics.json", lambda v: v.clear()), "contents: not as a bundle has them"),
        (lambda folder: (folder / "labels.txt").write_text("one\n"), "has 1 lines for 10 outputs"),
        (lambda folder: (folder / "metrics.json").write_text("[" * 100_000), "contents: not as a bundle"),
        (lambda folder: (folder / "model.int8.onnx").write_bytes(b"\x00\x01"), "model.int8.onnx"),
        (other_samples, "input is float32"),
        (edit_model(external), "in another file"),
        (edit_model(other_domain), "com.example"),
        (edit_model(other_weights), "differs from what PyTorch gave"),
    ],
)
def test_a_lie_with_right_checksums_is_found(bundle: Path, act: Callable[[Path], None], told: str) -> None:
    act(bundle)
    seal(bundle)
    good, why = verdict(bundle)
    assert not good
    assert told in why


def link_model(folder: Path) -> None:
    shutil.copy(folder / "model.onnx", folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")


def too_large(folder: Path) -> None:
    with (folder / "metrics.json").open("r+b") as stream:
        stream.truncate(LIMITS["metrics.json"] + 1)  # sparse: takes no room


def pipe(folder: Path) -> None:
    (folder / "labels.txt").unlink()
    os.mkfifo(folder / "labels.txt")  # whoever opens it waits for ever


def listed_as(line: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        with (folder / SUMS).open("a") as stream:
            stream.write(line)

    return act


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (listed_as(f"{'0' * 64}  ../../etc/passwd\n"), "which no bundle has"),
        (listed_as(f"{'0' * 64}  /etc/passwd\n"), "which no bundle has"),
        (listed_as(f"{'0' * 64}  model.onnx\n"), "listed twice"),
        (listed_as("no checksum\n"), "is not `checksum  name`"),
        (listed_as("\x00\xff"), "SHA256SUMS: "),
        (listed_as("x" * (1 << 17)), "more than 65,536"),
        (lambda folder: (folder / SUMS).unlink(), "SHA256SUMS: is missing"),
        (lambda folder: (folder / "labels.txt").unlink(), "labels.txt: is missing"),
        (lambda folder: (folder / "run.sh").write_text("echo"), "'run.sh' is here"),
        (lambda folder: (folder / "labels.txt").write_text("a\n"), "its SHA-256 is another"),
        (link_model, "is no plain file"),
        (pipe, "is no plain file"),
        (too_large, "has 16,777,217 bytes"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_spoilt_folder_is_found_before_anything_is_parsed(
    bundle: Path, act: Callable[[Path], None], told: str
) -> None:
    act(bundle)
    findings = verify(bundle)
    assert [found.good for found in findings[2:]] == [None, None, None]
    assert told in verdict(bundle)[1]


def test_no_flipped_byte_passes_unnoticed(bundle: Path) -> None:
    """Nor where checksums were made anew: a model, a plan and its samples hold each other."""
    random.seed(5)
    whole = {name: (bundle / name).read_bytes() for name in LIMITS if (bundle / name).exists()}

    def spoil(name: str) -> None:
        content = bytearray(whole[name])
        for _ in range(random.choice((1, 1, 4))):
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        if random.random() < 0.3:
            del content[random.randrange(1, len(content)) :]
        (bundle / name).write_bytes(content)

    for name in whole:
        for _ in range(3):
            spoil(name)
            assert not verdict(bundle)[0], name
            (bundle / name).write_bytes(whole[name])
    for name in ("model.onnx", "model.onnx", "slimming.json", "samples.safetensors", "model.preproc.onnx"):
        spoil(name)
        seal(bundle)
        good, why = verdict(bundle)
        # A preprocessing model, or a sample, may survive a flip that changes no result; nothing else may.
        assert not good or name in ("model.preproc.onnx", "samples.safetensors"), name
        assert good or why
        (bundle / name).write_bytes(whole[name])
        seal(bundle)
    assert verdict(bundle) == (True, "")
