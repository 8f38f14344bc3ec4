"""The version of torch against the package's bounds, and a product on each GPU."""

from __future__ import annotations

import importlib.metadata
import tomllib

import pytest
import torch

from netslim.cli import doctor
from netslim.cli.torch_checks import gpus, outside_bounds, required_torch
from tests.helpers.imports import ROOT


@pytest.mark.parametrize(
    ("version", "outside"),
    [
        ("2.12.9", True),
        ("2.13.0", False),
        ("2.13.0+cu130", False),
        ("2.15.1", False),
        ("2.16.0", True),
        ("3.0", True),
        ("1.99", True),
        ("2.9", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, outside: bool) -> None:
    assert outside_bounds(version, "<2.16,>=2.13") == outside
    assert not outside_bounds(version, "")


def test_the_bounds_are_those_of_pyproject() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (written,) = [each.removeprefix("torch") for each in extras["torch"] if each.startswith("torch>")]
    assert sorted(required_torch().split(",")) == sorted(written.split(","))
    assert not outside_bounds(torch.__version__, written)


def test_a_torch_that_is_too_old_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.11.0" if name == "torch" else versions(name)
    )
    for results in (list(doctor.packages()), [doctor.required("torch")]):
        (result,) = [each for each in results if each.name == "torch"]
        assert result.passed is False
        assert result.detail.startswith("2.11.0, but netslim is made for torch")


def test_each_gpu_multiplies_and_one_that_cannot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"H{index}")
    broken = {1: "CUDA error: no kernel image"}
    monkeypatch.setattr(
        "netslim.nn.device_check.does_not_compute", lambda device: broken.get(device.index, "")
    )
    assert list(gpus()) == [
        (True, "GPU 0", "H0 computes"),
        (
            False,
            "GPU 1",
            "H1 does not compute (CUDA error: no kernel image): install a torch for this GPU and its driver",
        ),
    ]
