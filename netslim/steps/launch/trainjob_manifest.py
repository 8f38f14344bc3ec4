"""One training on several nodes, as a TrainJob of Kubeflow Trainer.

Each node gets what the step's own pod got (image, settings, secrets by reference, volumes, places to run), so
a profile holds for nodes as for pods, and is said once. What a TrainJob cannot say, such as how a pod is
secured, stands in the TrainingRuntime that manifests/trainer holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["GROUP", "PLURAL", "RUNTIME", "VERSION", "NodeRequest", "trainjob_manifest"]

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUNTIME = {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": "netslim"}
KFPS_OWN = ("workflows.argoproj.io/", "pipelines.kubeflow.org/")  # labels by which others would take up a pod


@dataclass(frozen=True)
class NodeRequest:
    """How many nodes train together, and what each of them has.

    Args:
        gpus: processes of a node, a GPU for each; 0 for one on the CPU.
        limits: Kubernetes' resources of one node, GPUs among them.
    """

    nodes: int
    gpus: int
    limits: Mapping[str, str]

    def to_json(self) -> str:
        """Short, and without a }} that Argo could take for the end of a template."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> NodeRequest:
        return cls(**json.loads(text))


def trainjob_manifest(
    name: str,
    pod: Mapping[str, Any],
    wish: NodeRequest,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """The TrainJob, as JSON, that runs `command` on each node.

    Args:
        pod: the step's own, as JSON. The cluster removes the TrainJob with it, so no run leaves one behind.
        environment: variables besides the settings and secrets that the pod refers to.
    """
    meta, spec = pod["metadata"], pod["spec"]
    (main,) = (container for container in spec["containers"] if container["name"] == "main")
    labels = {name: value for name, value in meta["labels"].items() if not name.startswith(KFPS_OWN)}
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
                "numNodes": wish.nodes,
                "numProcPerNode": max(1, wish.gpus),
                "resourcesPerNode": {"limits": dict(wish.limits), "requests": dict(wish.limits)},
            },
            "runtimePatches": [_patch({"metadata": {"labels": labels}, "spec": _places(spec, main)})],
        },
    }


def _patch(pods: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the runtime in the template of the nodes' pods."""
    jobs = [{"name": "node", "template": {"spec": {"template": dict(pods)}}}]
    return {"manager": "netslim", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}


def _references(container: Mapping[str, Any]) -> list[Any]:
    """The variables that are settings and secrets; none is given by its value."""
    kinds = {"configMapKeyRef", "secretKeyRef"}
    return [each for each in container.get("env", ()) if kinds & each.get("valueFrom", {}).keys()]


def _places(spec: Mapping[str, Any], main: Mapping[str, Any]) -> dict[str, Any]:
    """Where the pod may run, and its volumes, without KFP's and Argo's own."""
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
