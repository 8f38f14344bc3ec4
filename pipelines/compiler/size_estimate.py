"""Estimate the size of a run's Argo Workflow object from the compiled pipeline.

A run is one object in etcd, which grows while the run progresses. Above 1 MiB Argo packs the states of its
nodes: a run of six passes passed that in its third pass, was packed from 953 to 278 kB, and went on. Above
1.5 MiB etcd refuses an object that is not packed (kubeflow/pipelines#13738).

The estimate follows what KFP 2.17.0 and Argo 4.0.5 stored of a run of two passes. Each task has a driver,
which is two nodes, because Argo puts a node for tries around everything: both have the definitions of the
task, and the pod that the driver made of them. The step itself is four nodes, of which each has that pod
again. A step from the cache has no pod.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

__all__ = ["LIMIT", "estimate_size", "packed_size"]

IR = Mapping[str, Any]
LIMIT = 1024 * 1024
PACKED = 278 / 953  # of a run of six passes in its third

# Values that exist only when the pipeline runs, with their usual length.
UUID = "00000000-0000-0000-0000-000000000000"
URI = f"minio://mlpipeline/v2/artifacts/network-slimming/{UUID}/train-sparse-3/{UUID}"
SESSION = {
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": "seaweedfs.kubeflow:9000",
        "fromEnv": "false",
        "maxRetries": "5",
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    },
}
# Bytes that were measured, without the definitions and pods within.
DRIVER, GROUP_DRIVER = (1360, 1434), (1350, 1423)  # of the two nodes of a driver
STEP = (1008, 1194, 1118, 1148)  # of the four nodes of a step that may be retried
STEP_ONCE = (758, 871, 919, 949)  # of one that may not
CACHED = 470  # of the node in place of the pod, when the step comes from the cache
GROUP = (527, 603)  # of the two nodes around the tasks of a group
TEMPLATE, GROUP_TEMPLATE = 1030, 750  # of a task in its group's template, beside its definition
ARGUMENT = 90  # of one argument of the Workflow beside its value: name, quotes
FIXED = 16_000  # of KFP's own templates, the Workflow's metadata, and the run's inputs


def estimate_size(ir: IR, platform: IR | None = None, *, cached: Collection[str] = ()) -> int:
    """Bytes of the Workflow object when every step has run once.

    Args:
        ir: the pipeline, a compiled file's first document.
        platform: its Kubernetes platform, the second document; None when it has none.
        cached: tasks whose results come from the cache.
    """
    deployed = (platform or {}).get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
    settings, executors = deployed.get("executors", {}), ir["deploymentSpec"]["executors"]
    root = _quoted(_json(ir["root"]))
    total = FIXED + 3 * root + sum(GROUP_DRIVER) + 2 * sum(GROUP)
    arguments: dict[str, int] = {}  # equal definitions are stored once
    for name, task, component in _tasks(ir):
        own, wiring = _quoted(_json(component)), _quoted(_json(task))
        label = component.get("executorLabel")
        if label is None:
            arguments[name] = own
            total += wiring + GROUP_TEMPLATE + 2 * (own + wiring) + sum(GROUP_DRIVER) + sum(GROUP)
            continue
        container, extra = executors[label]["container"], settings.get(label, {})
        image, config = _quoted(_json(container)), _quoted(_json(extra))
        unlabeled = {key: value for key, value in component.items() if key != "executorLabel"}
        arguments |= {_json(unlabeled): own, _json(container): image, f"{name} settings": config}
        total += wiring + TEMPLATE + 2 * (own + wiring + image + config) + sum(DRIVER)
        nodes = STEP if "retryPolicy" in task else STEP_ONCE
        if name in cached:
            total += sum(nodes[:2]) + CACHED
        else:
            total += sum(nodes) + 6 * _quoted(_json(_pod(component, task, container, extra)))
    return total + sum(arguments.values()) + ARGUMENT * len(arguments)


def packed_size(size: int) -> int:
    """Bytes of an object of `size` bytes after Argo has packed it. Argo fails a run that is longer then."""
    return round(size * PACKED)


def _tasks(ir: IR) -> Iterator[tuple[str, IR, IR]]:
    """Every task: its name, the task, its component."""
    for group in (ir["root"], *ir["components"].values()):
        for name, task in group.get("dag", {}).get("tasks", {}).items():
            yield name, task, ir["components"][task["componentRef"]["name"]]


def _pod(component: IR, task: IR, container: IR, extra: IR) -> dict[str, Any]:
    """The pod of a task as KFP's driver passes it to Argo; it repeats the definition of the step."""
    arguments = {"pipeline_name": "network-slimming", "run_id": UUID, "execution_id": "123456"}
    arguments |= {
        "executor_input": _json(_executor_input(component, task)),
        "component_spec": _json(component),
    }
    arguments |= {"pod_name": "$(KFP_POD_NAME)", "pod_uid": "$(KFP_POD_UID)"}
    arguments |= {"ml_pipeline_server_address": "ml-pipeline.kubeflow.svc.cluster.local"}
    arguments |= {"ml_pipeline_server_port": "8887", "mlmd_server_port": "8080"}
    arguments |= {"mlmd_server_address": "metadata-grpc-service.kubeflow.svc.cluster.local"}
    launch = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    launch += ["--publish_logs", "true"] * 2
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
        "securityContext": {"capabilities": {"drop": ["ALL"]}, **extra.get("securityContext", {})},
    }
    main |= {name: extra[name] for name in ("imagePullPolicy",) if name in extra}
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
    given = task.get("inputs", {})
    session = {"store_session_info": json.dumps(SESSION, separators=(",", ":"))}
    metadata = {"display_name": "model", "error": 91.969887, "classes": 10, **session}
    logs = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}}
    return {
        "inputs": {
            "parameterValues": dict.fromkeys(given.get("parameters", {}), "a value"),
            "artifacts": {
                name: _artifact(name="1234", uri=f"{URI}/{name}", metadata=metadata)
                for name in inputs.get("artifacts", {})
                if name in given.get("artifacts", {})
            },
        },
        "outputs": {
            "parameters": {
                name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs.get("parameters", {})
            },
            "artifacts": {
                name: _artifact(name=name, type=kind["artifactType"], uri=f"{URI}/{name}")
                for name, kind in {**outputs.get("artifacts", {}), **logs}.items()
            },
            "outputFile": f"{URI.replace('://', '/')}/output_metadata.json",
        },
    }


def _artifact(**fields: Any) -> dict[str, Any]:
    return {"artifacts": [fields]}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _quoted(text: str) -> int:
    """Bytes of a text as a JSON string within the Workflow."""
    return len(json.dumps(text).encode())
