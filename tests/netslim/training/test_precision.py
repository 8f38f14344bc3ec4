"""Precisions by their names, and torch's switches for TF32, which are there on a CPU, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from netslim.training.precision import (
    autocast_dtype,
    default_precision,
    fastest,
    float32_products,
    switches,
)

CPU = torch.device("cpu")
BACKENDS: Any = torch.backends  # most of its switches have no types


def test_a_given_precision_is_used() -> None:
    assert autocast_dtype("fp32", CPU) is None
    assert autocast_dtype("tf32", CPU) is None
    assert autocast_dtype("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("feature", "native"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_f", False)]
)
def test_auto_is_bf16_only_where_the_cpu_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, feature: str, native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True})
    assert autocast_dtype("auto", CPU) == (torch.bfloat16 if native else None)
    assert default_precision(CPU) == ("bf16" if native else "fp32")


def test_auto_is_bf16_on_a_gpu_that_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, n=native: n)
        assert default_precision(torch.device("cuda")) == ("bf16" if native else "fp32")


def test_the_fastest_is_that_with_the_fewest_seconds() -> None:
    assert fastest({"a": lambda: 2.0, "b": lambda: 1.0}) == ("b", {"a": 2.0, "b": 1.0})
    assert fastest({"a": lambda: 1.0, "b": lambda: 1.0})[0] == "a"


def everything() -> dict[str, Any]:
    """All switches, by old and new names; the error instead of a value that cannot be read."""

    def read(get: Any) -> Any:
        try:
            return get()
        except RuntimeError as error:
            return type(error)

    return {
        "cudnn": read(lambda: BACKENDS.cudnn.allow_tf32),
        "matmul": read(lambda: BACKENDS.cuda.matmul.allow_tf32),
        "float32": read(torch.get_float32_matmul_precision),
        "new": [
            operation.fp32_precision
            for operation in (
                BACKENDS.cuda.matmul,
                BACKENDS.cudnn.conv,
                BACKENDS.cudnn.rnn,
                BACKENDS.mkldnn.matmul,
                BACKENDS.mkldnn.conv,
            )
        ],
    }


@pytest.fixture(params=["as torch starts", "cudnn off", "high", "medium", "new names that differ"])
def start(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Each way in which a user may have set the switches; torch's own setting afterwards."""
    first = everything()
    if request.param == "cudnn off":
        BACKENDS.cudnn.allow_tf32 = False
    elif request.param in ("high", "medium"):
        torch.set_float32_matmul_precision(request.param)
    elif request.param == "new names that differ":
        BACKENDS.cudnn.conv.fp32_precision = "ieee"
    yield everything()
    BACKENDS.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cuda.matmul.fp32_precision = "none"
    BACKENDS.mkldnn.matmul.fp32_precision = "none"
    assert everything() == first


@pytest.mark.parametrize("tf32", [False, True])
def test_the_switches_are_set_in_the_block_and_restored(start: dict[str, Any], tf32: bool) -> None:
    with switches(tf32=tf32):
        inside = everything()
    assert (inside["cudnn"], inside["matmul"]) == (tf32, tf32)
    *on_gpu, cpu_matmul, cpu_conv = inside["new"]
    assert {value == "tf32" for value in on_gpu} == {tf32}
    assert [cpu_matmul, cpu_conv] == start["new"][3:]  # the CPU's precision is not touched
    assert everything() == start


def test_only_a_gpu_has_the_switches() -> None:
    before = everything()
    with float32_products(CPU, tf32=True):
        assert everything() == before
    with float32_products(torch.device("cuda"), tf32=False):
        assert everything()["cudnn"] is False
    assert everything() == before
