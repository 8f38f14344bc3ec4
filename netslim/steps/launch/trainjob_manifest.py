"""The manifest of a training on several nodes: a TrainJob of Kubeflow Trainer.

Each node gets the image, settings, secrets (by reference), volumes and node selection of the step's own pod,
so one profile configures pods and nodes. Fields that a TrainJob does not have, such as the security context
of a pod, are in the TrainingRuntime in manifests/trainer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["GROUP", "PLURAL", "RUNTIME", "VERSION", "NodeRequest", "trainjob_manifest"]

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUNTIME = {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": "netslim"}
LABELS_OF_KFP = ("workflows.argoproj.io/", "pipelines.kubeflow.org/")  # their controllers act on such pods


@dataclass(frozen=True)
class NodeRequest:
    """The number of nodes that train together, and the resources of each.

    Args:
        gpus: GPUs of a node, with one process for each; 0 for one process on the CPU.
        limits: Kubernetes resource limits of one node, GPUs included.
    """

    nodes: int
    gpus: int
    limits: Mapping[str, str]

    def to_json(self) -> str:
        """The request as compact JSON, without `}}`, which Argo would read as the end of a template."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> NodeRequest:
        return cls(**json.loads(text))


def trainjob_manifest(
    name: str,
    pod: Mapping[str, Any],
    request: NodeRequest,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """The TrainJob that runs `command` on each node, as JSON data.

    Args:
        pod: the step's own pod as JSON data. It owns the TrainJob, so the cluster deletes both together.
        environment: variables in addition to the settings and secrets that the pod refers to.
    """
    meta, spec = pod["metadata"], pod["spec"]
    (main,) = (container for container in spec["containers"] if container["name"] == "main")
    labels = {name: value for name, value in meta["labels"].items() if not name.startswith(LABELS_OF_KFP)}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            **_parts(spec, "activeDeadlineSeconds"),
            "runtimeRef": RUNTIME,
            "trainer": {
                "image": main["image"],
                "command": list(command),
                "env": _references(main) + [{"name": key, "value": environment[key]} for key in environment],
                "numNodes": request.nodes,
                "numProcPerNode": max(1, request.gpus),
                "resourcesPerNode": {"limits": dict(request.limits), "requests": dict(request.limits)},
            },
            "runtimePatches": [_patch({"metadata": {"labels": labels}, "spec": _pod_settings(spec, main)})],
        },
    }


def _patch(pods: Mapping[str, Any]) -> dict[str, Any]:
    """The changes to the runtime's template of the nodes' pods."""
    jobs = [{"name": "node", "template": {"spec": {"template": dict(pods)}}}]
    return {"manager": "netslim", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}


def _references(container: Mapping[str, Any]) -> list[Any]:
    """The variables that refer to a ConfigMap or a Secret, without their values."""
    kinds = {"configMapKeyRef", "secretKeyRef"}
    return [variable for variable in container.get("env", ()) if kinds & variable.get("valueFrom", {}).keys()]


def _pod_settings(spec: Mapping[str, Any], main: Mapping[str, Any]) -> dict[str, Any]:
    """The node selection of the pod and its volumes, without those of KFP and Argo."""
    volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
    mounts = [
        mount
        for mount in main.get("volumeMounts", ())
        if mount["mountPath"] in ("/tmp", "/dev/shm") or "persistentVolumeClaim" in volumes[mount["name"]]
    ]
    return {
        **_parts(spec, "nodeSelector", "tolerations", "imagePullSecrets"),
        "volumes": [volumes[mount["name"]] for mount in mounts],
        "containers": [{"name": "node", "volumeMounts": mounts}],
    }


def _parts(spec: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: spec[name] for name in names if name in spec}
