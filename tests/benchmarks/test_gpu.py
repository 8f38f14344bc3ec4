"""The parts of benchmarks/gpu.sh that its trial on a CPU does not check: tables, shares of time, options."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.gpu import options, summary
from benchmarks.gpu.table1 import OVERHEAD, Clock
from netslim.training.sgd import SGD


def write(folder: Path, part: str, *rows: dict[str, Any]) -> None:
    (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_tables_have_the_rows_of_all_parts(tmp_path: Path) -> None:
    write(tmp_path, "start", {"date": "2026-11-30", "commit": "abc"})
    write(
        tmp_path,
        "checks",
        {"what": "environment", "gpu": "H200", "torch": "2.11"},
        {"what": "resumed", "ok": True, "apart": 0.0},
        {"what": "doctor", "skipped": "the time is up"},
    )
    known = {"network": "VGG-19", "batch": 64, "precision": "bf16"}
    own = {"images/s": 30000, "share of peak": 0.0912, "goal": 35000, "precision used": "bf16"}
    write(
        tmp_path,
        "speed",
        {"what": "peak", "TFLOPs": 791},
        {"what": "netslim", **known, **own},
        {"what": "copied loop", **known, "images/s": 5000},
        {"what": "netslim, no graph", **known, "skipped": "the time is up"},
        {"what": "option", **known, "option": "cudnn.benchmark", "images/s": 33000},
    )
    write(tmp_path, "table1-vgg19", {"what": "base", "error": 10.8, "epochs": 33, "params": 20035018})
    page = summary.page(tmp_path)
    assert page.startswith("gpu H200, torch 2.11, date 2026-11-30, commit abc\n")
    assert "| resumed |  | ok | 0.0 |" in page
    assert "| doctor |  | the time is up |  |" in page
    assert "| VGG-19, 64 | bf16 | 5,000 |  | 30,000 | 6.0x | 35,000 | 9.1 % |" in page
    assert "| VGG-19, 64 | cudnn.benchmark | 33,000 | +10.0 % |" in page
    assert "| vgg19 | base |  | 10.8 | 33 |  | 20,035,018 |  |" in page
    assert summary.main(tmp_path) == 0


def test_a_check_that_is_not_ok_is_an_exit_code_and_has_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "checks", {"what": "resumed", "ok": False, "error": "E: x", "traceback": "line 1"})
    assert summary.main(tmp_path) == 1
    printed = capsys.readouterr()
    assert "NOT OK" in printed.out
    assert "line 1" in printed.err
    assert summary.page(tmp_path / "nothing") == ""


def test_the_time_that_is_left_is_divided_by_the_stages_that_are_left() -> None:
    rows: Any = SimpleNamespace(left=300.0)
    clock = Clock(rows, 3)
    assert clock.epochs() == 2  # how long an epoch takes is not known yet
    clock.seconds_per_epoch, rows.left = 1.0, 200.0
    assert clock.epochs() == int(0.95 * (100 - OVERHEAD))
    rows.left = 1.0
    assert clock.epochs() == 0


def test_the_options_compute_what_they_replace() -> None:
    results = []
    for option in (None, options.foreach_sgd):
        parameter = nn.Parameter(torch.linspace(-1, 1, 9))
        optimizer = SGD([parameter], momentum=0.9, nesterov=True, weight_decay=0.01)
        for step in range(3):
            parameter.grad = torch.sin(torch.arange(9.0) + step)
            if option is None:
                optimizer.step(torch.tensor(0.1))
            else:
                with option():
                    optimizer.step(torch.tensor(0.1))
        results.append(parameter.detach())
    torch.testing.assert_close(*results)
