"""A step with GPUs in its profile starts with them, or ends with an error that names the cause."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from netslim.errors import PipelineError
from netslim.steps.gpu_check import EXPECTED, check_gpus


def test_without_promised_gpus_torch_is_not_loaded() -> None:
    code = "import sys, netslim.steps.gpu_check as a; a.check_gpus(); print('torch' in sys.modules)"
    for environment in ({}, {EXPECTED: ""}, {EXPECTED: "0"}):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout == "False\n"


def test_an_image_without_cuda_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXPECTED, "1")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(PipelineError, match=r"1 promised, but this image's torch .* was built without CUDA"):
        check_gpus()


def test_too_few_gpus_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXPECTED, "4")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(
        PipelineError, match=r"4 promised, but torch .* sees 3\. .*--gpus 0 trains on the CPU"
    ):
        check_gpus()


def test_a_gpu_that_does_not_compute_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def does_not_compute(device: torch.device) -> str:
        asked.append(device.index)
        return "CUDA error: no kernel image is available for execution on the device" if device.index else ""

    monkeypatch.setenv(EXPECTED, "2")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("netslim.nn.device_check.does_not_compute", does_not_compute)
    with pytest.raises(
        PipelineError, match=r"GPU 1 does not compute \(CUDA error: no kernel image .*device\)\."
    ):
        check_gpus()
    assert asked == [0, 1]
    monkeypatch.setenv("LOCAL_RANK", "0")  # one of several processes checks its own GPU
    check_gpus()
    assert asked == [0, 1, 0]
