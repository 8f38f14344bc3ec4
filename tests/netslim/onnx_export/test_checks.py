"""Results of the file and of PyTorch are compared: their shape, their order, and a file that does not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from netslim.errors import ExportError
from netslim.onnx_export.checks import check_parity, expected_results, relative_difference
from tests.helpers.exportable import SHAPE, plain


def test_a_file_that_does_not_run_is_refused(tmp_path: Path) -> None:
    """As torch writes it for an LSTM with projections, which ONNX does not have."""
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"logits: onnxruntime cannot run the exported file \("):
        check_parity(expected_results(plain().eval(), SHAPE), tmp_path / "model.onnx", SHAPE)


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ExportError, match=r"gives \[2, 4\] at batch size 2, PyTorch \[2, 5\]"):
        relative_difference(torch.zeros(2, 5), torch.zeros(2, 4), 2)


def test_classes_with_equal_logits_may_swap() -> None:
    """Two logits that are equal within the tolerance may change their order, others may not."""
    ours = torch.tensor([[1.0, 1.0 - 1e-7, 0.0]])
    assert relative_difference(ours, ours[:, [1, 0, 2]], 1) < 1e-6
    with pytest.raises(ExportError, match="batch size 1"):
        relative_difference(torch.tensor([[1.0, 1.0 - 1e-4, 0.0]]), torch.tensor([[1.0, 1.0 + 1e-4, 0.0]]), 1)
