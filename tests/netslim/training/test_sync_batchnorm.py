"""BatchNorm over the shards of three processes against torch's BatchNorm over the whole batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from netslim.training import distributed
from netslim.training.sync_batchnorm import synchronised
from tests.helpers.ranks import run_in_ranks

SETTINGS: tuple[dict[str, Any], ...] = ({}, {"affine": False}, {"momentum": None})


def largest_difference(folder: Path) -> None:
    """In double precision: outputs, gradients and running statistics after two batches."""
    torch.manual_seed(0)
    batch = torch.randn(11, 4, 3, 3, dtype=torch.double) * 3 + 100
    target = torch.randn_like(batch)
    shard = distributed.shard(11)
    largest = 0.0
    for settings in SETTINGS:
        reference, norm = (nn.BatchNorm2d(4, dtype=torch.double, **settings) for _ in range(2))
        whole, part = batch.clone().requires_grad_(), batch[shard].clone().requires_grad_()
        reference(whole)
        expected = reference(whole)
        (expected * target).sum().backward()
        with synchronised(norm):
            norm(part)
            result = norm(part)
            (result * target[shard]).sum().backward()
        assert "forward" not in vars(norm), "the module is unchanged after the block"
        pairs = [(result, expected[shard]), (part.grad, whole.grad[shard])]
        pairs += [
            (distributed.all_reduce_sum(a.grad), b.grad)
            for a, b in zip(norm.parameters(), reference.parameters(), strict=True)
        ]
        pairs += zip(norm.buffers(), reference.buffers(), strict=True)
        largest = max(largest, *(float((a - b).detach().abs().max()) for a, b in pairs))
    (folder / f"difference-{distributed.rank()}.json").write_text(json.dumps(largest))


@pytest.mark.slow
def test_three_uneven_shards_give_the_batchnorm_of_the_whole_batch(tmp_path: Path) -> None:
    run_in_ranks(__file__, tmp_path, "3=largest_difference")
    for rank in range(3):
        assert json.loads((tmp_path / f"difference-{rank}.json").read_text()) < 1e-9


def test_one_process_keeps_its_batchnorm() -> None:
    norm = nn.BatchNorm2d(4)
    with synchronised(norm):
        assert "forward" not in vars(norm)
