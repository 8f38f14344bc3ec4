"""The pod of each image, from the documents of a compiled pipeline. tests/pipelines/cli has real ones."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from netslim import __version__
from netslim.steps.launch.trainjob_manifest import NodeRequest
from netslim_kfp.pipelines.cluster.image_pods import OTHER_VERSION, ImagePod, image_pods, pod_manifest


def pods_of(*steps: tuple[str, str, str, int, dict[str, Any]]) -> list[ImagePod]:
    """The pods of steps with (image, processors, memory, GPUs, settings)."""
    executors, settings = {}, {}
    for number, (image, cpu, memory, gpus, extra) in enumerate(steps):
        resources: dict[str, Any] = {"resourceCpuLimit": cpu, "resourceMemoryLimit": memory}
        if gpus:
            resources["accelerator"] = {"resourceType": "nvidia.com/gpu", "resourceCount": str(gpus)}
        executors[f"exec-{number}"] = {"container": {"image": image, "resources": resources}}
        settings[f"exec-{number}"] = extra
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": settings}}}}
    return image_pods({"deploymentSpec": {"executors": executors}}, platform)


@pytest.mark.parametrize(
    ("others", "largest"),
    [
        ([("16", "64Gi", 0)], ("1", "2Gi", 1)),  # a GPU is the rarest
        ([("16", "900Mi", 0), ("1", "2Gi", 0)], ("1", "1T", 0)),  # then memory, in any unit
        ([("1500m", "2Gi", 0)], ("2", "2Gi", 0)),  # then processors
    ],
)
def test_the_step_that_requests_most_stands_for_its_image(
    others: list[tuple[str, str, int]], largest: tuple[str, str, int]
) -> None:
    for steps in ([largest, *others], [*others, largest]):
        (pod,) = pods_of(*(("r:5000/x/netslim-train:1", *step, {}) for step in steps))
        assert (pod.limits["cpu"], pod.limits["memory"]) == largest[:2]
        assert pod.limits.get("nvidia.com/gpu", "0") == str(largest[2])
        assert pod.name == "train"


def test_a_training_on_several_nodes_is_tried_with_the_resources_of_a_node() -> None:
    """Its own pod only waits for the nodes."""
    node = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"}
    annotations = {"netslim/nodes": NodeRequest(2, 8, node).to_json()}
    (pod,) = pods_of(("netslim-train:1", "1", "2Gi", 0, {"podMetadata": {"annotations": annotations}}))
    assert pod.limits == node


def test_images_are_sorted_and_each_has_its_own_settings() -> None:
    settings = {"nodeSelector": {"labels": {"pool": "b"}}}
    first, second = pods_of(("b:1", "1", "2Gi", 0, settings), ("a:1", "1", "2Gi", 0, {}))
    assert (first.image, first.settings, second.image, second.settings) == ("a:1", {}, "b:1", settings)


def test_a_user_id_of_the_step_is_that_of_the_pod() -> None:
    (pod,) = pods_of(("a:1", "1", "2Gi", 0, {"securityContext": {"runAsUser": 1000, "runAsNonRoot": True}}))
    made = pod_manifest(pod, "n", check="c", service_account="s", timeout=10)
    context = made["spec"]["containers"][0]["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"]) == (1000, True)
    assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("wanted", [__version__, "0.0.9"])
def test_the_program_compares_the_version(wanted: str) -> None:
    (pod,) = pods_of(("a:1", "1", "2Gi", 0, {}))
    (container,) = pod_manifest(pod, "n", check="c", service_account="s", timeout=10)["spec"]["containers"]
    command = container["command"]
    assert command[0] == "python3"
    assert command[-1] == __version__
    words = [sys.executable, *command[1:-1], wanted]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == f"netslim {__version__}\n"
    assert done.returncode == (0 if wanted == __version__ else OTHER_VERSION)
