"""Apply resource profiles to pipeline tasks in the form that KFP's Kubernetes platform expects.

Processors and memory are written into the IR, where local runners ignore them with a warning. Everything else
is written into the IR's second document, which only a KFP backend reads. So a pipeline with profiles runs
everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from kfp import kubernetes

from netslim.steps.gpu_check import EXPECTED
from netslim.steps.launch.trainjob import NAMESPACE, NODES, POD
from netslim.steps.launch.trainjob_manifest import NodeRequest
from netslim.storage.backends import CHECKPOINTS
from netslim_kfp.pipelines.cluster.profiles import (
    BACKOFF_FACTOR,
    PROFILE_OF_STEP,
    TOLERATION,
    Profile,
    seconds,
)

__all__ = ["PlaceTask", "no_placement", "placed_on"]

PlaceTask = Callable[[Any], Any]
"""A function that gives a KFP task its resources, in place, and returns the task."""

DEFAULT_PULL = "IfNotPresent"  # Kubernetes' own, for tags other than `latest`, which are refused
WAITING_CPU, WAITING_MEMORY = "1", "2Gi"  # of a step that waits for its nodes
S3_CONFIG = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")
S3_SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# The number of GPUs that a pod requests is also a label of the pod, which the step reads through the downward
# API. Only a cluster sets the label, so on a laptop the same pipeline trains on the CPU.
GPU_LABEL = "netslim/gpus"
NODES_NOTE = "netslim/nodes"  # an annotation, for the same reason
RUN_LABEL, RUN_ENV = "pipeline/runid", "KFP_RUN_ID"  # KFP puts this label on every pod of a run
KEY_ENV = "NETSLIM_RUN_KEY"  # it wins over KFP_RUN_ID (netslim.tracking.destination)


def no_placement(task: Any) -> Any:
    """Return the task as it is: for a pipeline that stays on this machine."""
    return task


def placed_on(profiles: Mapping[str, Profile], *, run_key: str = "") -> PlaceTask:
    """A function that applies to each KFP task the profile of its step.

    Args:
        run_key: the key of the run in MLflow, when it is not the id that KFP gives the run. KFP's cache does
            not look at environment variables, so finished steps are taken from an earlier run all the same.
    """

    def place(task: Any) -> Any:
        profile = profiles[PROFILE_OF_STEP[task.component_spec.name.replace("-", "_")]]
        if profile.gpus:  # also with several nodes, which copy it from their step's pod
            kubernetes.add_toleration(task, key=profile.gpu_type, operator="Exists", effect="NoSchedule")
        if profile.nodes > 1:
            profile = _request_nodes(task, profile)
        _set_compute(task, profile)
        _set_node(task, profile)
        _set_storage(task, profile)
        _set_environment(task, profile)
        if run_key:
            task.set_env_variable(KEY_ENV, run_key)
        return task

    return place


def _request_nodes(task: Any, profile: Profile) -> Profile:
    """Give a training step its node request, and return the smaller profile of its own, waiting pod."""
    gpus = {profile.gpu_type: str(profile.gpus)} if profile.gpus else {}
    request = NodeRequest(profile.nodes, profile.gpus, {"cpu": profile.cpu, "memory": profile.memory, **gpus})
    kubernetes.add_pod_annotation(task, NODES_NOTE, request.to_json())
    kubernetes.use_field_path_as_env(task, NODES, f"metadata.annotations['{NODES_NOTE}']")
    kubernetes.use_field_path_as_env(task, POD, "metadata.name")
    kubernetes.use_field_path_as_env(task, NAMESPACE, "metadata.namespace")
    return dataclasses.replace(profile, gpus=0, cpu=WAITING_CPU, memory=WAITING_MEMORY)


def _set_compute(task: Any, profile: Profile) -> None:
    task.set_cpu_request(profile.cpu).set_cpu_limit(profile.cpu)
    task.set_memory_request(profile.memory).set_memory_limit(profile.memory)
    if profile.gpus:
        task.set_accelerator_type(profile.gpu_type).set_accelerator_limit(profile.gpus)
        kubernetes.add_pod_label(task, GPU_LABEL, str(profile.gpus))
        kubernetes.use_field_path_as_env(task, EXPECTED, f"metadata.labels['{GPU_LABEL}']")
    kubernetes.set_timeout(task, seconds(profile.timeout))
    if profile.retries:
        task.set_retry(
            profile.retries,
            backoff_duration=f"{seconds(profile.backoff)}s",
            backoff_factor=BACKOFF_FACTOR,
            backoff_max_duration=f"{profile.retry_window}s",  # bounds all tries: see retry_window
        )


def _set_node(task: Any, profile: Profile) -> None:
    for label, value in profile.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in profile.tolerations:
        kubernetes.add_toleration(task, **{TOLERATION[key]: value for key, value in toleration.items()})
    for label, value in profile.labels.items():
        kubernetes.add_pod_label(task, label, value)
    if profile.image_pull_policy != DEFAULT_PULL:  # each setting is stored nine times in the run's object
        kubernetes.set_image_pull_policy(task, profile.image_pull_policy)
    if profile.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, profile.image_pull_secrets)
    kubernetes.set_security_context(task, run_as_non_root=True)


def _set_storage(task: Any, profile: Profile) -> None:
    # KFP cannot limit ephemeral storage as a whole. Beside their artifacts, steps write only to /tmp.
    kubernetes.empty_dir_mount(task, "scratch", "/tmp", size_limit=profile.scratch)
    if profile.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=profile.shm)
    if profile.dataset_claim:
        kubernetes.mount_pvc(task, profile.dataset_claim, profile.dataset_path)


def _set_environment(task: Any, profile: Profile) -> None:
    """Settings and secrets by reference: keys of a ConfigMap and a Secret, each of which may be absent."""
    kubernetes.use_field_path_as_env(task, RUN_ENV, f"metadata.labels['{RUN_LABEL}']")
    config_keys, secret_keys = list(profile.config_keys), list(profile.secret_keys)
    if profile.checkpoints:
        task.set_env_variable(CHECKPOINTS, profile.checkpoints)
        config_keys += [key for key in S3_CONFIG if key not in config_keys]
        secret_keys += [key for key in S3_SECRET if key not in secret_keys]
    if config_keys:
        names = {key: key for key in config_keys}
        kubernetes.use_config_map_as_env(task, profile.config_map, names, optional=True)
    if secret_keys:
        names = {key: key for key in secret_keys}
        kubernetes.use_secret_as_env(task, profile.secret, names, optional=True)
