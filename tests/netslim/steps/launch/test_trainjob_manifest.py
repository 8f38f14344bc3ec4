"""The TrainJob gives its nodes the settings of the step's pod, in fields that Kubeflow Trainer has."""

from __future__ import annotations

from typing import Any

from kubeflow_trainer_api import models

from netslim.steps.launch.trainjob_manifest import NodeRequest, trainjob_manifest

REQUEST = NodeRequest(2, 4, {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"})


def made(pod: dict[str, Any], request: NodeRequest = REQUEST) -> dict[str, Any]:
    return trainjob_manifest(
        "netslim-sparse-1-ab", pod, request, ["python3", "-m", "x"], {"NETSLIM_CHECKPOINTS": "s3://b"}
    )


def node_template(job: dict[str, Any]) -> dict[str, Any]:
    """The template of the nodes' pods, from the one patch of the runtime."""
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template: dict[str, Any] = node["template"]["spec"]["template"]
    return template


def test_trainer_has_every_field(pod: dict[str, Any]) -> None:
    job = made(pod)
    read = models.TrainerV1alpha1TrainJob.from_dict(job)
    assert read.to_dict() == job
    broken = {**job, "spec": {**job["spec"], "numNodes": 2}}
    assert models.TrainerV1alpha1TrainJob.from_dict(broken).to_dict() != broken, (
        "else this test shows nothing"
    )


def test_nodes_have_the_requested_number_and_resources(pod: dict[str, Any]) -> None:
    trainer = made(pod)["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"}
    assert trainer["resourcesPerNode"]["requests"] == trainer["resourcesPerNode"]["limits"]
    assert made(pod, NodeRequest(3, 0, {"cpu": "8"}))["spec"]["trainer"]["numProcPerNode"] == 1


def test_nodes_get_the_image_settings_volumes_and_node_selection_of_the_step(pod: dict[str, Any]) -> None:
    job = made(pod)
    trainer, nodes = job["spec"]["trainer"], node_template(job)
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


def test_no_secret_is_contained_by_its_value(pod: dict[str, Any]) -> None:
    for variable in made(pod)["spec"]["trainer"]["env"]:
        assert ("value" in variable) == (variable["name"] == "NETSLIM_CHECKPOINTS")


def test_the_pod_owns_it_and_only_labels_of_the_run_are_kept(pod: dict[str, Any]) -> None:
    job = made(pod)
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", pod["metadata"]["name"], "6f1c")
    labels = {"app.kubernetes.io/part-of": "netslim", "pipeline/runid": "run-1"}
    assert job["metadata"]["labels"] == node_template(job)["metadata"]["labels"] == labels


def test_fields_that_a_pod_does_not_have_are_left_out(pod: dict[str, Any]) -> None:
    for part in ("nodeSelector", "tolerations", "imagePullSecrets", "activeDeadlineSeconds"):
        del pod["spec"][part]
    job = made(pod)
    assert set(node_template(job)["spec"]) == {"volumes", "containers"}
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job


def test_a_node_request_survives_its_annotation() -> None:
    assert NodeRequest.from_json(REQUEST.to_json()) == REQUEST
    assert "}}" not in REQUEST.to_json()
