"""The contents of a bundle, used in the ways of its users."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from PIL import Image

from netslim import data
from netslim.bundle import quantization
from netslim.bundle.layout import CHECKSUMS, write_checksums
from netslim.bundle.preprocessing import write_preprocessing_model
from netslim.bundle.publish import publish
from netslim.bundle.quantization import calibration_batches, quantize
from netslim.cli.bench import bench
from netslim.data.images import centre
from netslim.data.normalisation import normalise
from netslim.errors import BundleError, ConfigError, StorageError
from netslim.storage import s3
from tests.helpers.infos import info

EXAMPLE = Path(__file__).parents[3] / "examples" / "consume.py"
OLD_FILES = Path(__file__).parents[2] / "data" / "0.1.0"


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (8, 9), (31, 17), (57, 100), (5, 6), (480, 640)])
def test_preprocessing_in_the_graph_equals_that_of_the_dataset(
    made: Path, dataset: Path, size: tuple[int, int]
) -> None:
    """Training images are preprocessed by Pillow and numpy; the graph must do the same for any size."""
    about = data.open_dataset(dataset).info
    noise = np.random.default_rng(0).integers(0, 256, (3, 6, 6), np.uint8)
    images = [Image.fromarray(one).resize(size[::-1], Image.Resampling.BICUBIC) for one in noise]
    pixels = np.stack([centre(image, 8) for image in images])[..., None].reshape(3, 8, 8, 1)
    logits = run(made / "model.onnx", normalise(pixels, about))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    result = run(made / "model.preproc.onnx", np.stack([np.asarray(image) for image in images])[..., None])
    np.testing.assert_allclose(result, powers / powers.sum(1, keepdims=True), atol=1e-4)


def test_preprocessing_equals_that_of_version_0_1_0(tmp_path: Path) -> None:
    """The stored graph is what 0.1.0 wrote for grey images of 8 x 8; results must be equal bit for bit."""
    values = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 64]),
    ]
    flatten = helper.make_node("Flatten", ["input"], ["logits"])
    graph = helper.make_graph([flatten], "flatten", values[:1], values[1:])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(network, tmp_path / "model.onnx")
    about = info((8, 8), mean=(0.3,), std=(0.37,), classes=tuple(map(str, range(64))))
    write_preprocessing_model(tmp_path, about)
    proto = onnx.load(tmp_path / "model.preproc.onnx")
    assert [entry.version for entry in proto.opset_import] == [18]
    proto.graph.output.append(values[0])  # the network's input is what the preprocessing computes
    present = onnxruntime.InferenceSession(proto.SerializeToString())
    stored = onnxruntime.InferenceSession(OLD_FILES / "preprocessing-8x8-grey.onnx")
    for height, width in ((8, 8), (16, 16), (8, 9), (31, 17), (57, 100), (5, 6), (1, 1), (480, 640)):
        pixels = np.random.default_rng(height).integers(0, 256, (3, height, width, 1), np.uint8)
        (expected,), (result,) = (one.run(["input"], {"images": pixels}) for one in (stored, present))
        assert result.tobytes() == expected.tobytes(), (height, width)


def run(file: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file)
    result: np.ndarray = session.run(None, {session.get_inputs()[0].name: images})[0]
    return result


def test_the_int8_model_is_kept_only_when_its_error_is_low_enough(
    made: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes((made / "model.onnx").read_bytes())
    packed = data.open_dataset(dataset)
    errors = {"model.int8.onnx": 2.5, "model.onnx": 1.0}
    monkeypatch.setattr(quantization.runtime, "error", lambda file, *_: errors[Path(file).name])
    refused = quantize(tmp_path, packed, max_error_increase=1.4)
    assert not refused.shipped
    assert refused.reason.startswith("not shipped: 2.50 % error on 744 training images")
    assert not (tmp_path / "model.int8.onnx").exists()
    assert quantize(tmp_path, packed, max_error_increase=1.5).shipped
    assert (tmp_path / "model.int8.onnx").stat().st_size < 0.6 * (tmp_path / "model.onnx").stat().st_size


@pytest.mark.parametrize(("side", "sizes"), [(8, [32, 8]), (64, [8] * 5), (224, [1] * 40)])
def test_calibration_batches_of_large_images_are_small(dataset: Path, side: int, sizes: list[int]) -> None:
    """onnxruntime keeps all activations of a batch: 8 GB for 32 photos in a ResNet-50."""
    about = replace(data.open_dataset(dataset).info, image_size=(side, side))
    split = data.Split(np.zeros((40, side, side, 1), np.uint8), np.zeros(40, np.int64))
    assert [len(batch["input"]) for batch in calibration_batches(split, about)] == sizes


def test_the_card_contains_sizes_errors_and_digests(made: Path) -> None:
    card = (made / "README.md").read_text()
    metrics = json.loads((made / "metrics.json").read_text())
    wanted = (f"{metrics['model']['params']:,}", "90.00", "uint8 [batch, height, width, 1]", "797 test")
    for text in (*wanted, metrics["onnx_sha256"], metrics["int8"]["reason"], "## Licence", "## Limits"):
        assert text in card
    assert "the last pass and the best model were chosen by the same errors" in card, "no validation images"


def test_the_example_needs_neither_torch_nor_netslim(made: Path, dataset: Path, tmp_path: Path) -> None:
    split = data.open_dataset(dataset).split("test")
    Image.fromarray(split.images[0][..., 0]).save(tmp_path / "digit.png")
    blocked = (
        "import sys, runpy\n"
        "for name in ('torch', 'netslim', 'onnx', 'safetensors', 'mlflow'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", blocked, str(EXAMPLE), str(made), str(tmp_path / "digit.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    logits = run(made / "model.onnx", normalise(split.images[:1], data.open_dataset(dataset).info))
    assert done.stdout.split()[1] == str(logits.argmax())
    code = [
        line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith(("#", "import"))
    ]
    assert len(code) <= 16


def test_bench_prints_ratios_and_the_runtime(made: Path) -> None:
    result = CliRunner().invoke(
        bench, [str(made), "--against", str(made / "model.onnx"), "--seconds", "0.01"]
    )
    assert result.exit_code == 0, result.output
    rows = {line[:26].strip(): line.split()[-1] for line in result.output.splitlines() if line[:1] in "pf"}
    assert set(rows) >= {"p50 ms, batch 1", "p95 ms, batch 32", "peak memory MiB, batch 32", "file, bytes"}
    assert rows["file, bytes"] == "1.0x"
    assert "1 thread, taking turns" in result.output


def test_a_bundle_is_published_to_s3_once_and_its_checksums_last(
    made: Path, bundle: Path, bucket: str, tmp_path: Path
) -> None:
    destination = f"s3://{bucket}/models/digits-1"
    assert publish(made, destination)
    client = boto3.client("s3")
    before = client.list_objects_v2(Bucket=bucket)["Contents"]
    written = {entry["Key"].rpartition("/")[2]: entry["LastModified"] for entry in before}
    assert written[CHECKSUMS] == max(written.values())
    assert not publish(made, destination)
    assert client.list_objects_v2(Bucket=bucket)["Contents"] == before
    s3.download_tree(destination, tmp_path / "fetched")
    assert {f.name: f.read_bytes() for f in (tmp_path / "fetched").iterdir()} == {
        f.name: f.read_bytes() for f in made.iterdir()
    }
    client.delete_object(Bucket=bucket, Key=f"models/digits-1/{CHECKSUMS}")  # as after an interrupted upload
    assert publish(made, destination)
    (bundle / "latency.json").write_text("{}")
    with pytest.raises(BundleError, match=r"latency\.json"):
        publish(bundle, destination)
    (bundle / "README.md").write_text("Another card.")
    write_checksums(bundle)
    with pytest.raises(StorageError, match="another bundle is published there"):
        publish(bundle, destination)


def test_publishing_to_a_folder_never_replaces_other_files(made: Path, tmp_path: Path) -> None:
    assert publish(made, str(tmp_path / "there"))
    assert not publish(made, str(tmp_path / "there"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="other files"):
        publish(made, str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "thesis.txt").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("triton", ["", "digits"])
def test_a_file_is_never_replaced_by_a_bundle(made: Path, tmp_path: Path, triton: str) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("years of work")
    link, broken = tmp_path / "link", tmp_path / "broken"
    link.symlink_to(file)
    broken.symlink_to(tmp_path / "nowhere" / "file")
    for destination in (file, link, file / "below"):
        with pytest.raises(StorageError, match=r"is a file, not a folder\. Name a new or an empty folder"):
            publish(made, str(destination), triton=triton)
    assert file.read_text() == "years of work"
    assert link.readlink() == file
    assert broken.is_symlink()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_to_an_empty_folder_stays_and_the_bundle_is_written_there(made: Path, tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir(mode=0o750)
    link.symlink_to(there)
    assert publish(made, str(link))
    assert link.is_symlink()
    assert contents(there) == contents(made)
    assert there.stat().st_mode & 0o777 == 0o750
    assert not publish(made, str(link))


def test_a_bundle_is_not_published_into_itself(bundle: Path) -> None:
    before = contents(bundle)
    with pytest.raises(StorageError, match="lies inside the bundle itself"):
        publish(bundle, str(bundle / "published"))
    assert contents(bundle) == before


def test_an_object_of_somebody_else_is_not_written_over(made: Path, bucket: str) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="mine/README.md", Body=b"my own page")
    with pytest.raises(StorageError, match=r"s3://.*/mine: another README.md is there"):
        publish(made, f"s3://{bucket}/mine")
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix="mine/")["Contents"]] == [
        "mine/README.md"
    ]


def test_a_model_of_triton_that_is_not_ours_stays(made: Path, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "config.pbtxt").write_text("mine")
    with pytest.raises(StorageError, match="digits: a folder with other files in it"):
        publish(made, str(tmp_path), triton="digits")
    assert (tmp_path / "digits" / "config.pbtxt").read_text() == "mine"
    assert publish(made, str(tmp_path), triton="ours")
    model = tmp_path / "ours" / "1" / "model.onnx"
    (tmp_path / "ours" / "config.pbtxt").unlink()  # as after an interruption
    (tmp_path / "elsewhere").write_text("mine")
    model.unlink()
    model.symlink_to(tmp_path / "elsewhere")
    assert publish(made, str(tmp_path), triton="ours")
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert model.read_bytes() == (made / "model.onnx").read_bytes()


def test_the_layout_of_triton(made: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert publish(made, str(tmp_path), triton=name)
    assert not publish(made, str(tmp_path), triton="one")
    assert (tmp_path / "one" / "1" / "model.onnx").read_bytes() == (made / "model.onnx").read_bytes()
    config = (tmp_path / "one" / "config.pbtxt").read_text()
    for line in ("max_batch_size: 32", "dims: [1, 8, 8]", "dims: [10]", "dynamic_batching {}"):
        assert line in config
    assert 'label_filename: "labels.txt"' in config
    with pytest.raises(ConfigError, match="not a valid name for a served model"):
        publish(made, str(tmp_path), triton="../up")
