"""The built images: size, contents, permissions, and use by any user. `make e2e-docker` runs this."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import docker
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from netslim import __version__
from netslim_kfp.components.images import ImageName, image
from netslim_kfp.pipelines.local.docker import IMAGE_USER

pytestmark = pytest.mark.docker

KINDS: tuple[ImageName, ...] = get_args(ImageName)
STEPS: tuple[ImageName, ...] = ("data", "train", "export")
BRINGS = {
    "data": {"torch", "torchvision", "sklearn", "safetensors", "kfp.dsl.executor_main", "boto3"},
    "train": {"mlflow"},
    "export": {"onnx", "onnxscript", "onnxruntime", "matplotlib.pyplot", "jinja2"},
    "consume": {
        "onnx",
        "onnxruntime",
        "PIL.Image",
        "netslim.bundle.benchmark",
        "netslim.bundle.model_checks",
    },
    "tracking": {"mlflow.server", "psycopg2", "boto3"},
}


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    with closing(docker.from_env()) as client:
        yield client


def inside(kind: ImageName, *command: str, user: str = "123456:0", **options: Any) -> str:
    """The output of a command in a container that can write to /tmp only, by default as an unknown user."""
    with closing(docker.from_env()) as client:
        output: bytes = client.containers.run(
            image(kind),
            list(command),
            user=user,
            remove=True,
            read_only=True,
            tmpfs={"/tmp": ""},
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            stderr=True,
            **options,
        )
    return output.decode()


def python(kind: ImageName, code: str, **options: Any) -> str:
    return inside(kind, "python3", "-c", code, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_the_packages_of_an_image_load_for_any_user_on_a_read_only_disk(kind: ImageName) -> None:
    modules = (
        set().union(*(BRINGS[k] for k in STEPS[: STEPS.index(kind) + 1])) if kind in STEPS else BRINGS[kind]
    )
    output = python(kind, f"import os, {', '.join(sorted(modules))}\nprint('loaded as', os.getuid())")
    assert output.endswith("loaded as 123456\n")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_labels_and_a_user_other_than_root(engine: docker.DockerClient, kind: ImageName) -> None:
    config = engine.images.get(image(kind)).attrs["Config"]
    assert config["User"] == f"{IMAGE_USER}:{IMAGE_USER}"
    assert "HOME=/tmp" in config["Env"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["title"] == f"netslim {kind}"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert re.fullmatch("[0-9a-f]{40}", labels["revision"])
    assert re.search(r"[0-9a-f]{12}$", labels["base.name"]), "a base by digest"


@pytest.mark.parametrize("kind", KINDS)
def test_no_compiler_no_pip_and_no_cache_are_left(kind: ImageName) -> None:
    tools = ("cc", "gcc", "g++", "clang", "ld", "make")
    output = python(kind, f"import shutil\nprint([t for t in {tools} if shutil.which(t)])")
    assert json.loads(output) == []
    assert python(kind, "import importlib.util\nprint(importlib.util.find_spec('pip'))") == "None\n"
    left = (
        "find / -xdev -type f -size +0 ( -name *.whl -o -path */.cache/* -o -path /run/* -o -path /source/* )"
    )
    assert inside(kind, *left.split(), user="0") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_code_and_packages_can_be_written_by_root_only(kind: ImageName) -> None:
    """The image's own user may not, even without a read-only disk."""
    search = (
        "find / -xdev -writable -not -path '/proc/*' -not -path '/dev/*' -not -type l 2>/dev/null || true"
    )
    found = inside(kind, "sh", "-c", search, user=f"{IMAGE_USER}:{IMAGE_USER}").split()
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock"}


@pytest.mark.parametrize("kind", KINDS)
def test_packages_fit_each_other(kind: ImageName) -> None:
    """By the base image's pip, because /opt/netslim has none."""
    check = "PATH=${PATH#/opt/netslim/bin:} python3 -m pip --python /opt/netslim/bin/python check"
    assert inside(kind, "sh", "-c", check) == "No broken requirements found.\n"


def test_the_images_share_their_layers(engine: docker.DockerClient) -> None:
    layers = {kind: engine.images.get(image(kind)).attrs["RootFS"]["Layers"] for kind in STEPS}
    for small, large in (("data", "train"), ("train", "export")):
        assert layers[small][:-1] == layers[large][: len(layers[small]) - 1], "all but netslim itself"


@pytest.mark.parametrize("kind", KINDS)
def test_no_layer_contains_the_address_of_a_package_index(
    engine: docker.DockerClient, kind: ImageName
) -> None:
    history = json.dumps(engine.images.get(image(kind)).history())
    assert "://" not in history


def test_the_consumer_runs_a_model_without_torch(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    double = helper.make_node("Add", ["x", "x"], ["y"])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    graph = helper.make_graph([double], "double", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), model)
    model.chmod(0o644)
    tmp_path.chmod(0o755)
    code = (
        "import importlib.util, numpy, onnxruntime\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "session = onnxruntime.InferenceSession('/model/model.onnx')\n"
        "print(session.run(None, {'x': numpy.arange(6, dtype='float32').reshape(2, 3)})[0].tolist())"
    )
    mounted = {str(tmp_path): {"bind": "/model", "mode": "ro"}}
    assert json.loads(python("consume", code, volumes=mounted)) == (2 * np.arange(6.0).reshape(2, 3)).tolist()


def test_the_consumer_is_small(engine: docker.DockerClient) -> None:
    assert engine.images.get(image("consume")).attrs["Size"] < 500e6


def test_a_container_without_a_command_examines_itself() -> None:
    name = image("export")
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", name], capture_output=True, text=True, check=True
    )
    assert re.search(r"ok +onnxruntime", done.stdout)
