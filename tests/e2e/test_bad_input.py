"""Every wrong input ends in one clear line and its exit code, before anything is half done."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netslim.errors import ConfigError, DataError, ModelError, TrackingError


def run(folder: Path, *arguments: str) -> tuple[int, str, Path]:
    """Start the command line as a user does. Returns the exit code, stderr, and the output folder."""
    output = folder / "out"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "netslim", *arguments, "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )
    return done.returncode, done.stderr.strip(), output


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ("--percent", "1.0"),
            ConfigError.exit_code,
            "netslim: percent = 1.0: must be at least 0 and below 1",
        ),
        (("--percent", "50"), ConfigError.exit_code, "Write 0.5 for 50 %"),
        (("--lambda", "-1"), ConfigError.exit_code, "netslim: lam = -1.0: must be a number of at least 0"),
        (("--sparse", "epoch=3"), ConfigError.exit_code, "epochs"),
        (("--dataset", "cifar11"), ConfigError.exit_code, "netslim: dataset = cifar11: unknown dataset"),
        (("--preset", "cfar"), ConfigError.exit_code, "cifar"),
        (("--model", "resnet51"), ModelError.exit_code, "resnet50"),
        (
            ("--dataset", "mnist", "--data-root", "nowhere"),
            DataError.exit_code,
            "netslim: data_root = nowhere",
        ),
        (("--target", "flops"), ConfigError.exit_code, "not of the form NAME=VALUE"),
        (("--no-such-option",), ConfigError.exit_code, "No such option"),
        (("--passes", "9"), ConfigError.exit_code, "netslim: passes = 9: too many passes"),
    ],
)
def test_found_before_the_first_step(
    tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    got, told, output = run(tmp_path, "run", *options)
    assert got == code, told
    assert message in told
    assert "Traceback" not in told
    assert not output.exists(), "nothing is left behind"


def test_an_unreachable_tracking_server_is_found_at_the_start(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    got, told, output = run(tmp_path, "run", "--tracking-uri", f"http://127.0.0.1:{port}")
    assert got == TrackingError.exit_code, told
    assert f"127.0.0.1:{port}" in told
    assert len(told.splitlines()) == 1
    assert not output.exists()


def test_a_truncated_file_fails_the_first_step_with_its_name(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        whole = gzip.compress(b"\0\0\x08\x01" + bytes(100))
        (raw / f"{name}-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    got, told, output = run(tmp_path, "run", "--dataset", "mnist", "--data-root", str(tmp_path / "data"))
    assert got == DataError.exit_code, told
    assert "MNIST" in told
    assert "Traceback" not in told
    assert not list(output.glob("artifacts/*/prepare-data/dataset*")), "no half-written artifact"


def test_a_network_without_batch_norm_is_refused_with_the_reason(tmp_path: Path) -> None:
    got, told, _ = run(tmp_path, "run", "--model", "alexnet", "--no-baseline", "--passes", "1")
    assert got == ModelError.exit_code, told
    assert "BatchNorm" in told or "too small" in told
