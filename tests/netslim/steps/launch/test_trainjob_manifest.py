"""The TrainJob says of nodes what the step's pod says of itself, in fields that Kubeflow Trainer has."""

from __future__ import annotations

from typing import Any

from kubeflow_trainer_api import models

from netslim.steps.launch.trainjob_manifest import NodeRequest, trainjob_manifest

WISH = NodeRequest(2, 4, {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"})


def made(pod: dict[str, Any], wish: NodeRequest = WISH) -> dict[str, Any]:
    return trainjob_manifest(
        "netslim-sparse-1-ab", pod, wish, ["python3", "-m", "x"], {"NETSLIM_CHECKPOINTS": "s3://b"}
    )


def of_nodes(job: dict[str, Any]) -> dict[str, Any]:
    """The template of the nodes' pods, from the one patch of the runtime."""
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template: dict[str, Any] = node["template"]["spec"]["template"]
    return template


def test_trainer_knows_every_field(pod: dict[str, Any]) -> None:
    job = made(pod)
    read = models.TrainerV1alpha1TrainJob.from_dict(job)
    assert read.to_dict() == job
    broken = {**job, "spec": {**job["spec"], "numNodes": 2}}
    assert models.TrainerV1alpha1TrainJob.from_dict(broken).to_dict() != broken, (
        "else this test shows nothing"
    )


def test_nodes_are_as_many_and_as_large_as_wished(pod: dict[str, Any]) -> None:
    trainer = made(pod)["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"}
    assert trainer["resourcesPerNode"]["requests"] == trainer["resourcesPerNode"]["limits"]
    assert made(pod, NodeRequest(3, 0, {"cpu": "8"}))["spec"]["trainer"]["numProcPerNode"] == 1


def test_nodes_get_the_steps_image_settings_volumes_and_places(pod: dict[str, Any]) -> None:
    job = made(pod)
    trainer, nodes = job["spec"]["trainer"], of_nodes(job)
    assert trainer["image"] == "registry/netslim-train:0.1.0"
    assert [each["name"] for each in trainer["env"]] == [
        "AWS_ENDPOINT_URL_S3",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "NETSLIM_CHECKPOINTS",
    ]
    assert nodes["spec"]["nodeSelector"] == {"node-pool": "a100"}
    assert nodes["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert nodes["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert [volume["name"] for volume in nodes["spec"]["volumes"]] == ["scratch", "shm", "netslim-datasets"]
    (container,) = nodes["spec"]["containers"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp", "/dev/shm", "/datasets"]
    assert job["spec"]["activeDeadlineSeconds"] == 172800


def test_no_secret_is_in_it_by_its_value(pod: dict[str, Any]) -> None:
    for variable in made(pod)["spec"]["trainer"]["env"]:
        assert ("value" in variable) == (variable["name"] == "NETSLIM_CHECKPOINTS")


def test_it_ends_with_its_pod_and_is_found_by_its_run_and_nobody_takes_it_up(pod: dict[str, Any]) -> None:
    job = made(pod)
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", pod["metadata"]["name"], "6f1c")
    labels = {"app.kubernetes.io/part-of": "netslim", "pipeline/runid": "run-1"}
    assert job["metadata"]["labels"] == of_nodes(job)["metadata"]["labels"] == labels


def test_what_a_pod_lacks_is_left_out(pod: dict[str, Any]) -> None:
    for part in ("nodeSelector", "tolerations", "imagePullSecrets", "activeDeadlineSeconds"):
        del pod["spec"][part]
    job = made(pod)
    assert set(of_nodes(job)["spec"]) == {"volumes", "containers"}
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job


def test_a_wish_survives_its_annotation() -> None:
    assert NodeRequest.from_json(WISH.to_json()) == WISH
    assert "}}" not in WISH.to_json()
