"""A good bundle passes all checks; a damaged or hostile one fails with a sentence."""

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

from netslim.bundle.layout import CHECKSUMS, SIZE_LIMITS, write_checksums
from netslim.bundle.verify import CheckResult, verify
from netslim.errors import NetslimError


def verdict(folder: Path) -> tuple[bool, str]:
    """Whether all checks passed, and the detail of the first one that did not."""
    results = verify(folder)
    assert all(isinstance(result, CheckResult) and result.detail for result in results)
    failed = [result for result in results if not result.passed]
    return not failed, failed[0].detail if failed else ""


def test_a_bundle_of_the_pipeline_is_good(made: Path) -> None:
    assert verdict(made) == (True, "")
    # coreutils can read the list as well.
    checked = subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=made, capture_output=True)
    assert checked.returncode == 0


@pytest.mark.parametrize(
    "module", ["verify", "sandbox", "model_checks", "content_checks", "benchmark", "publish", "triton"]
)
def test_reading_a_bundle_loads_no_torch(module: str) -> None:
    code = f"import netslim.bundle.{module}, sys; assert not {{'torch', 'mlflow', 'kfp'}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_its_packages_verify_gives_no_result(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(NetslimError, match=r"verify: needs onnx\. pip install 'netslim\[verify\]'"):
        verify(made)


def edit_json(name: str, change: Callable[[dict], None]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return act


def edit_model(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    """Change the model and make size and checksums agree with it, as an attacker would."""

    def act(folder: Path) -> None:
        proto = onnx.load(folder / "model.onnx", load_external_data=False)
        change(proto)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        write_checksums(folder)
        sums = dict(reversed(line.split("  ")) for line in (folder / CHECKSUMS).read_text().splitlines())
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
    ("change", "message"),
    [
        (edit_json("metrics.json", lambda v: v["model"].update(params=7)), "metrics.json: has params 7"),
        (edit_json("metrics.json", lambda v: v.update(onnx_weights=7)), "has 7 weights"),
        (edit_json("slimming.json", lambda v: v["plan"]["layers"].clear()), "digest is not that of its plan"),
        (edit_json("signature.json", lambda v: v["inputs"][0].update(name="x")), "its inputs are not those"),
        (edit_json("metrics.json", lambda v: v.clear()), "contents: not in the format of a bundle"),
        (lambda folder: (folder / "labels.txt").write_text("one\n"), "has 1 lines for 10 outputs"),
        (lambda folder: (folder / "metrics.json").write_text("[" * 100_000), "contents: not in the format"),
        (lambda folder: (folder / "model.int8.onnx").write_bytes(b"\x00\x01"), "model.int8.onnx"),
        (other_samples, "input is float32"),
        (edit_model(external), "in another file"),
        (edit_model(other_domain), "com.example"),
        (edit_model(other_weights), "differs from PyTorch's result"),
    ],
)
def test_a_false_file_with_right_checksums_fails(
    bundle: Path, change: Callable[[Path], None], message: str
) -> None:
    change(bundle)
    write_checksums(bundle)
    good, why = verdict(bundle)
    assert not good
    assert message in why


def link_model(folder: Path) -> None:
    shutil.copy(folder / "model.onnx", folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")


def too_large(folder: Path) -> None:
    with (folder / "metrics.json").open("r+b") as stream:
        stream.truncate(SIZE_LIMITS["metrics.json"] + 1)  # a sparse file


def pipe(folder: Path) -> None:
    (folder / "labels.txt").unlink()
    os.mkfifo(folder / "labels.txt")  # opening it would block forever


def listed_as(line: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        with (folder / CHECKSUMS).open("a") as stream:
            stream.write(line)

    return act


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (listed_as(f"{'0' * 64}  ../../etc/passwd\n"), "not a file of a bundle"),
        (listed_as(f"{'0' * 64}  /etc/passwd\n"), "not a file of a bundle"),
        (listed_as(f"{'0' * 64}  model.onnx\n"), "listed twice"),
        (listed_as("no checksum\n"), "is not `checksum  name`"),
        (listed_as("\x00\xff"), "SHA256SUMS: "),
        (listed_as("x" * (1 << 17)), "more than 65,536"),
        (lambda folder: (folder / CHECKSUMS).unlink(), "SHA256SUMS: is missing"),
        (lambda folder: (folder / "labels.txt").unlink(), "labels.txt: is missing"),
        (lambda folder: (folder / "run.sh").write_text("echo"), "'run.sh' is in the folder"),
        (lambda folder: (folder / "labels.txt").write_text("a\n"), "has another SHA-256"),
        (link_model, "is not a regular file"),
        (pipe, "is not a regular file"),
        (too_large, "has 16,777,217 bytes"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_damaged_folder_fails_before_any_file_is_parsed(
    bundle: Path, change: Callable[[Path], None], message: str
) -> None:
    change(bundle)
    assert [result.passed for result in verify(bundle)[2:]] == [None, None, None]
    assert message in verdict(bundle)[1]


def test_every_flipped_byte_is_detected(bundle: Path) -> None:
    """Also with new checksums, because model, plan and samples have to agree with each other."""
    random.seed(5)
    intact = {name: (bundle / name).read_bytes() for name in SIZE_LIMITS if (bundle / name).exists()}

    def damage(name: str) -> None:
        content = bytearray(intact[name])
        for _ in range(random.choice((1, 1, 4))):
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        if random.random() < 0.3:
            del content[random.randrange(1, len(content)) :]
        (bundle / name).write_bytes(content)

    for name in intact:
        for _ in range(3):
            damage(name)
            assert not verdict(bundle)[0], name
            (bundle / name).write_bytes(intact[name])
    for name in ("model.onnx", "model.onnx", "slimming.json", "samples.safetensors", "model.preproc.onnx"):
        damage(name)
        write_checksums(bundle)
        good, why = verdict(bundle)
        # A flip in the preprocessing model or in a sample may change no result. All others must fail.
        assert not good or name in ("model.preproc.onnx", "samples.safetensors"), name
        assert good or why
        (bundle / name).write_bytes(intact[name])
        write_checksums(bundle)
    assert verdict(bundle) == (True, "")
