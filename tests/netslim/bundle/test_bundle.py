"""What is in a bundle, used as its users use it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image

from netslim import data
from netslim.bundle import quantization as quantising
from netslim.bundle.layout import SUMS
from netslim.bundle.publish import publish
from netslim.bundle.quantization import quantise
from netslim.cli.bench import bench
from netslim.data.images import centre
from netslim.errors import BundleError, ConfigError, StorageError
from netslim.onnx_export import runtime
from netslim.storage import s3

EXAMPLE = Path(__file__).parents[3] / "examples" / "consume.py"


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (8, 9), (31, 17), (57, 100), (5, 6), (480, 640)])
def test_preprocessing_in_the_graph_is_that_of_the_dataset(
    made: Path, dataset: Path, size: tuple[int, int]
) -> None:
    """Pillow and numpy did it for training; the graph has to do the same to images of any size."""
    info = data.open_dataset(dataset).info
    noise = np.random.default_rng(0).integers(0, 256, (3, 6, 6), np.uint8)
    images = [Image.fromarray(one).resize(size[::-1], Image.Resampling.BICUBIC) for one in noise]
    pixels = np.stack([centre(image, 8) for image in images])[..., None].reshape(3, 8, 8, 1)
    logits = run(made / "model.onnx", runtime.normalise(pixels, info))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    found = run(made / "model.preproc.onnx", np.stack([np.asarray(image) for image in images])[..., None])
    np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True), atol=1e-4)


def run(file: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file)
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: images})[0]
    return found


def test_int8_ships_only_when_it_is_good_enough(
    made: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes((made / "model.onnx").read_bytes())
    packed = data.open_dataset(dataset)
    errors = {"model.int8.onnx": 2.5, "model.onnx": 1.0}
    monkeypatch.setattr(quantising.measure, "error", lambda file, *_: errors[Path(file).name])
    refused = quantise(tmp_path, packed, limit=1.4)
    assert not refused.shipped
    assert refused.reason.startswith("not shipped: 2.50 % error on 744 training images")
    assert not (tmp_path / "model.int8.onnx").exists()
    assert quantise(tmp_path, packed, limit=1.5).shipped
    assert (tmp_path / "model.int8.onnx").stat().st_size < 0.6 * (tmp_path / "model.onnx").stat().st_size


@pytest.mark.parametrize(("side", "sizes"), [(8, [32, 8]), (64, [8] * 5), (224, [1] * 40)])
def test_calibration_takes_few_large_images_at_once(dataset: Path, side: int, sizes: list[int]) -> None:
    """onnxruntime keeps all that they make: of 32 photos in a ResNet-50 that is 8 GB."""
    info = replace(data.open_dataset(dataset).info, image_size=(side, side))
    split = data.Split(np.zeros((40, side, side, 1), np.uint8), np.zeros(40, np.int64))
    assert [len(batch["input"]) for batch in quantising._batches(split, info)] == sizes


def test_the_card_tells_what_matters(made: Path) -> None:
    card = (made / "README.md").read_text()
    metrics = json.loads((made / "metrics.json").read_text())
    wanted = (f"{metrics['model']['params']:,}", "90.00", "uint8 [batch, height, width, 1]", "797 test")
    for told in (*wanted, metrics["onnx_sha256"], metrics["int8"]["reason"], "## Licence", "## Limits"):
        assert told in card


def test_a_consumer_needs_neither_torch_nor_us(made: Path, dataset: Path, tmp_path: Path) -> None:
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
    logits = run(made / "model.onnx", runtime.normalise(split.images[:1], data.open_dataset(dataset).info))
    assert done.stdout.split()[1] == str(logits.argmax())
    code = [
        line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith(("#", "import"))
    ]
    assert len(code) <= 16


def test_bench_prints_ratios_and_on_what(made: Path) -> None:
    told = CliRunner().invoke(bench, [str(made), "--against", str(made / "model.onnx"), "--seconds", "0.01"])
    assert told.exit_code == 0, told.output
    rows = {line[:26].strip(): line.split()[-1] for line in told.output.splitlines() if line[:1] in "pf"}
    assert set(rows) >= {"p50 ms, batch 1", "p95 ms, batch 32", "peak memory MiB, batch 32", "file, bytes"}
    assert rows["file, bytes"] == "1.0x"
    assert "1 thread, taking turns" in told.output


def test_publishing_to_s3_is_whole_once_and_final(
    made: Path, bundle: Path, bucket: str, tmp_path: Path
) -> None:
    place = f"s3://{bucket}/models/digits-1"
    assert publish(made, place)
    client = boto3.client("s3")
    before = client.list_objects_v2(Bucket=bucket)["Contents"]
    written = {entry["Key"].rpartition("/")[2]: entry["LastModified"] for entry in before}
    assert written[SUMS] == max(written.values())
    assert not publish(made, place)
    assert client.list_objects_v2(Bucket=bucket)["Contents"] == before
    s3.download_tree(place, tmp_path / "fetched")
    assert {f.name: f.read_bytes() for f in (tmp_path / "fetched").iterdir()} == {
        f.name: f.read_bytes() for f in made.iterdir()
    }
    client.delete_object(Bucket=bucket, Key=f"models/digits-1/{SUMS}")  # as if it had broken off
    assert publish(made, place)
    (bundle / "latency.json").write_text("{}")
    with pytest.raises(BundleError, match=r"latency\.json"):
        publish(bundle, place)
    (bundle / "README.md").write_text("Another card.")
    from netslim.bundle.layout import seal

    seal(bundle)
    with pytest.raises(StorageError, match="another bundle is published there"):
        publish(bundle, place)


def test_publishing_to_a_folder_replaces_nothing_of_others(made: Path, tmp_path: Path) -> None:
    assert publish(made, str(tmp_path / "there"))
    assert not publish(made, str(tmp_path / "there"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="other files"):
        publish(made, str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_tritons_layout(made: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert publish(made, str(tmp_path), triton=name)
    assert not publish(made, str(tmp_path), triton="one")
    assert (tmp_path / "one" / "1" / "model.onnx").read_bytes() == (made / "model.onnx").read_bytes()
    config = (tmp_path / "one" / "config.pbtxt").read_text()
    for line in ("max_batch_size: 32", "dims: [1, 8, 8]", "dims: [10]", "dynamic_batching {}"):
        assert line in config
    assert 'label_filename: "labels.txt"' in config
    with pytest.raises(ConfigError, match="no name for a served model"):
        publish(made, str(tmp_path), triton="../up")
