"""What a step loads when it runs. The imports of its module alone are in tests/test_architecture.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from netslim.pruning.options import PruningOptions
from netslim.steps.prune import prune_step
from netslim.steps.train import train_step
from netslim.steps.training_request import TrainingRequest

dataset, trained, slim = sys.argv[1:]
epoch = {"stage": "sparse", "preset": "digits", "recipe_overrides": {"epochs": 1}, "seed": 0, "pass_index": 1}
train_step(TrainingRequest(dataset=dataset, model=trained, architecture="vgg-digits", **epoch))
print("trained")
prune_step(dataset, trained, slim, PruningOptions(percent=0.5))
print("loaded:", *NOT_LOADED & set(sys.modules))
"""
NOT_LOADED = {
    *("sympy", "torch._dynamo", "torch.onnx", "onnx", "onnxscript", "onnxruntime", "torchvision"),
    *("sklearn", "pandas", "matplotlib", "mlflow", "kfp"),
}


@pytest.mark.slow
def test_training_and_pruning_load_no_library_of_other_steps(dataset: Path, tmp_path: Path) -> None:
    """torch would load sympy (0.3 s) for the shapes of pooling, and for a weight of the loss."""
    code = f"NOT_LOADED = {NOT_LOADED}\n{CODE}"
    folders = map(str, (dataset, tmp_path / "trained", tmp_path / "slim"))
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
