"""Every wrong input ends in one clear line and its exit code, before anything is half done."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netslim.__main__ import main
from netslim.errors import ConfigError, DataError, ModelError, TrackingError

pytestmark = pytest.mark.slow  # each test calls the command line, and some of them start a pipeline


def call(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, Path]:
    """Call the command line in this process, for what ends before a step. Returns as `run` does."""
    output = folder / "out"
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["netslim", *arguments, "--output", str(output)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().err.strip(), output


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
            "netslim: percent = 1.0: must be a share from 0",
        ),
        (("--percent", "50"), ConfigError.exit_code, "Write 0.5 for 50 %"),
        (("--lambda", "-1"), ConfigError.exit_code, "netslim: lambda = -1.0: must be at least 0"),
        (("--sparse", "epoch=3"), ConfigError.exit_code, "Did you mean epochs?"),
        (("--dataset", "cifar11"), ConfigError.exit_code, "netslim: dataset = cifar11: unknown dataset"),
        (("--preset", "cfar"), ConfigError.exit_code, "Did you mean cifar?"),
        (("--model", "resnet51"), ModelError.exit_code, "Did you mean resnet50"),
        (
            ("--dataset", "mnist", "--data-root", "nowhere"),
            DataError.exit_code,
            "netslim: data_root = nowhere",
        ),
        (("--target", "flops"), ConfigError.exit_code, "not of the form NAME=VALUE"),
        (("--no-such-option",), ConfigError.exit_code, "No such option"),
        (("--passes", "9"), ConfigError.exit_code, "netslim: passes = 9: must be at most 6"),
    ],
)
def test_found_before_the_first_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    got, shown, output = call(tmp_path, monkeypatch, capsys, "run", *options)
    assert got == code, shown
    assert message in shown
    assert "Traceback" not in shown
    assert not output.exists(), "nothing is left behind"


def test_an_unreachable_tracking_server_is_found_at_the_start(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    got, shown, output = run(tmp_path, "run", "--tracking-uri", f"http://127.0.0.1:{port}")
    assert got == TrackingError.exit_code, shown
    assert f"127.0.0.1:{port}" in shown
    assert len(shown.splitlines()) == 1
    assert not output.exists()


def test_a_truncated_file_fails_the_first_step_with_its_name(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        whole = gzip.compress(b"\0\0\x08\x01" + bytes(100))
        (raw / f"{name}-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    got, shown, output = run(tmp_path, "run", "--dataset", "mnist", "--data-root", str(tmp_path / "data"))
    assert got == DataError.exit_code, shown
    assert "MNIST" in shown
    assert "Traceback" not in shown
    assert not list(output.glob("artifacts/*/prepare-data/dataset*")), "no half-written artifact"


PLAIN = """
from torch import nn
def plain(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, num_classes))
"""


def test_a_network_that_cannot_be_slimmed_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of the user's own, without BatchNorm."""
    (tmp_path / "plain.py").write_text(PLAIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    got, shown, _ = run(tmp_path, "run", "--model", "plain:plain", "--no-baseline", "--passes", "1")
    assert got == ModelError.exit_code, shown
    assert "has no BatchNorm" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cache: 'false'\n", "netslim: cache = 'false': must be true or false. Write true or false, without"),
        ("max-layer-percent: true\n", "netslim: max_layer_percent = true: must be a number"),
        ("passes: 2\npasses: 3\n", "netslim: passes: is given twice in run.yaml, the second time in line 2"),
        ("lam: 1e-4\nlambda: 1e-4\n", "netslim: lambda = 0.0001: lam and lambda are the same option"),
        ("precent: 0.5\n", "netslim: precent = 0.5: unknown option. Did you mean percent?"),
    ],
)
def test_a_wrong_config_file_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    got, shown, output = call(tmp_path, monkeypatch, capsys, "run", "--config", "run.yaml")
    assert got == ConfigError.exit_code == 2, shown
    assert shown.startswith(message)
    assert len(shown.splitlines()) == 1
    assert not output.exists()
