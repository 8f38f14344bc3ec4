"""Estimate the size of a run's Argo Workflow object from the compiled pipeline.

A run is one object in etcd, which grows while the run progresses. Above 1 MiB Argo packs the states of its
nodes, and KFP may then be unable to retry the run (kubeflow/pipelines#6547, #14397). Above 1.5 MiB etcd
refuses an object that is not packed (#13738).

The estimate follows the code of KFP 2.17 (backend/src/v2/compiler/argocompiler and backend/src/v2/driver).
The definition of a task is stored in the node of its driver. Its resolved pod, which contains the source of
the step, is stored in the outputs of the driver, in the inputs of the task's node and of the pod's node, and
once more if the task may be retried.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["LIMIT", "estimate_size"]

IR = Mapping[str, Any]
LIMIT = 1024 * 1024

# Values that exist only when the pipeline runs, with their usual length.
UUID = "00000000-0000-0000-0000-000000000000"
URI = f"s3://a-bucket/pipelines/network-slimming/{UUID}/pass 2: train sparse/{UUID}/model"
METADATA = {"display_name": "model", "error": 1.2345678, "channels": 1234.0, "params": 123456.0}
NODE = 600  # bytes of one node's state beside its parameters: names, phase, times, children
TEMPLATE = 1200  # bytes of a task in its template: arguments, dependencies, conditions
FIXED = 20_000  # bytes of KFP's own templates, labels and annotations


def estimate_size(ir: IR, platform: IR | None = None) -> int:
    """Bytes of the Workflow object when every step has run once.

    Args:
        ir: the pipeline, a compiled file's first document.
        platform: its Kubernetes platform, the second document; None when it has none.
    """
    deployed = (platform or {}).get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
    settings = deployed.get("executors", {})
    executors = ir["deploymentSpec"]["executors"]
    total = FIXED + sum({text: _quoted(text) for text in map(_json, executors.values())}.values())
    for task, component in _tasks(ir):
        definition = _quoted(_json(component)) + _quoted(_json(task))
        total += definition + _quoted(_json(task)) + TEMPLATE + 2 * NODE
        label = component.get("executorLabel")
        if label is None:
            total += _quoted(
                _json(component)
            )  # a group's own definition is an argument of the Workflow as well
            continue
        container, extra = executors[label]["container"], settings.get(label, {})
        pod = _quoted(_json(_pod(component, task, container, extra)))
        copies = 4 if "retryPolicy" in task else 3
        total += _quoted(_json(container)) + 2 * _quoted(_json(extra)) + copies * pod + (copies - 2) * NODE
    return total


def _tasks(ir: IR) -> Iterator[tuple[IR, IR]]:
    """Every task with its component."""
    for group in (ir["root"], *ir["components"].values()):
        for task in group.get("dag", {}).get("tasks", {}).values():
            yield task, ir["components"][task["componentRef"]["name"]]


def _pod(component: IR, task: IR, container: IR, extra: IR) -> dict[str, Any]:
    """The pod of a task as KFP's driver passes it to Argo; it repeats the definition of the step."""
    arguments = {"pipeline_name": "network-slimming", "run_id": UUID, "execution_id": "123456"}
    arguments |= {
        "executor_input": _json(_executor_input(component, task)),
        "component_spec": _json(component),
    }
    arguments |= {"pod_name": "$(KFP_POD_NAME)", "pod_uid": "$(KFP_POD_UID)", "publish_logs": "true"}
    arguments |= {"mlmd_server_address": "metadata-grpc-service.kubeflow.svc.cluster.local"}
    launch = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    resources = container.get("resources", {})
    amounts = {"cpu": resources.get("resourceCpuLimit"), "memory": resources.get("resourceMemoryLimit")}
    accelerator = resources.get("accelerator", {})
    gpus = {accelerator["resourceType"]: accelerator["resourceCount"]} if accelerator else {}
    mounts, volumes = _volumes(extra)
    main = {
        "name": "main",
        "image": container["image"],
        "command": ["/kfp-launcher/launch", *launch, "--"],
        "args": [*container["command"], *container["args"]],
        "env": [*container.get("env", ()), *_variables(extra)],
        "resources": {"limits": {**amounts, **gpus}, "requests": amounts},
        "volumeMounts": mounts,
        "imagePullPolicy": extra.get("imagePullPolicy", ""),
        "securityContext": extra.get("securityContext", {}),
    }
    rest = {name: extra[name] for name in ("tolerations", "nodeSelector", "imagePullSecret") if name in extra}
    return {"containers": [main], "volumes": volumes, "activeDeadlineSeconds": 172800, **rest}


def _variables(extra: IR) -> list[dict[str, Any]]:
    variables = []
    for kind, source, name, key in (
        ("configMapAsEnv", "configMapKeyRef", "configMapName", "configMapKey"),
        ("secretAsEnv", "secretKeyRef", "secretName", "secretKey"),
    ):
        for block in extra.get(kind, ()):
            for pair in block["keyToEnv"]:
                origin = {"name": block[name], "key": pair[key], "optional": True}
                variables.append({"name": pair["envVar"], "valueFrom": {source: origin}})
    for block in extra.get("fieldPathAsEnv", ()):
        variables.append(
            {"name": block["name"], "valueFrom": {"fieldRef": {"fieldPath": block["fieldPath"]}}}
        )
    return variables


def _volumes(extra: IR) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    mounts, volumes = [], []
    for block in extra.get("emptyDirMounts", ()):
        mounts.append({"name": block["volumeName"], "mountPath": block["mountPath"]})
        size = {"medium": block.get("medium", ""), "sizeLimit": block["sizeLimit"]}
        volumes.append({"name": block["volumeName"], "emptyDir": size})
    for block in extra.get("pvcMount", ()):
        mounts.append({"name": block["constant"], "mountPath": block["mountPath"]})
        claim = {"claimName": block["constant"]}
        volumes.append({"name": block["constant"], "persistentVolumeClaim": claim})
    return mounts, volumes


def _executor_input(component: IR, task: IR) -> dict[str, Any]:
    """The input of the step's process: values, and where artifacts are."""
    inputs, outputs = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
    given = task.get("inputs", {}).get("artifacts", {})
    logs = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}}
    return {
        "inputs": {
            "parameterValues": dict.fromkeys(inputs.get("parameters", {}), "a value"),
            "artifacts": {
                name: _artifact(name, kind, METADATA)
                for name, kind in inputs.get("artifacts", {}).items()
                if name in given
            },
        },
        "outputs": {
            "parameters": {
                name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs.get("parameters", {})
            },
            "artifacts": {
                name: _artifact(name, kind, {})
                for name, kind in {**outputs.get("artifacts", {}), **logs}.items()
            },
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        },
    }


def _artifact(name: str, kind: IR, metadata: IR) -> dict[str, Any]:
    artifact = {"name": name, "type": kind["artifactType"], "uri": URI, "metadata": metadata}
    return {"artifacts": [artifact]}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _quoted(text: str) -> int:
    """Bytes of a text as a JSON string within the Workflow."""
    return len(json.dumps(text).encode())
