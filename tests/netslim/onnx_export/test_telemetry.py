"""onnxruntime's telemetry is off wherever netslim loads onnxruntime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOADS = {
    "runtime": "from netslim.onnx_export import runtime; runtime.input_shape(model)",
    "checks": "from netslim.bundle.model_checks import _run; _run(Path(model).parent, 'model.onnx', images)",
    "quantization": "import netslim.bundle.quantization, onnxruntime.quantization",
}
CODE = """
import json, os, sys, time
from pathlib import Path
import numpy as np
def refuse(event, args):
    if event.startswith("socket."):
        print("network:", event, args, flush=True)
        os._exit(3)
sys.addaudithook(refuse)
model, images = sys.argv[1], np.zeros((1, 1, 4, 4), np.float32)
{load}
assert "onnxruntime" in sys.modules
time.sleep(0.3)  # the telemetry has a thread of its own
open_files = [os.readlink(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd") if fd > "2"
              and os.path.lexists(f"/proc/self/fd/{{fd}}")]
print(json.dumps([name for name in open_files if name.startswith("socket:")]))
"""


@pytest.mark.parametrize("load", LOADS)
def test_nothing_is_written_to_the_home_folder_or_sent(
    load: str, identity_model: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", CODE.format(load=LOADS[load]), str(identity_model)]
    child = subprocess.run(
        command, env={**environment, "HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert json.loads(child.stdout) == []
    assert not list(home.rglob("*"))


def test_a_value_of_the_user_stays() -> None:
    code = "import os, netslim.onnx_export; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "0\n"


@pytest.fixture
def identity_model(tmp_path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    shape: list[str | int | None] = ["batch", 1, 4, 4]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "logits")]
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["logits"])], "g", values[:1], values[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"
