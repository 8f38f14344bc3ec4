"""Fixtures of the steps: the digits, a Kubernetes with Kubeflow Trainer, and a step's pod as KFP makes it."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netslim import data
from tests.helpers.kubernetes_server import NAMESPACE, Kubernetes, serving


def variable(name: str, kind: str, **reference: str) -> dict[str, Any]:
    where = {part.rstrip("_"): value for part, value in reference.items()}
    return {"name": name, "valueFrom": {kind: where}}


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "network-slimming-x2x-system-container-impl-17",
        "namespace": NAMESPACE,
        "uid": "6f1c",
        "labels": {
            "app.kubernetes.io/part-of": "netslim",
            "pipeline/runid": "run-1",
            "pipelines.kubeflow.org/v2_component": "true",
            "workflows.argoproj.io/workflow": "network-slimming-x2x",
        },
    },
    "spec": {
        "activeDeadlineSeconds": 172800,
        "nodeSelector": {"node-pool": "a100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [
            {"name": "wait", "image": "argoexec", "env": [{"name": "ARGO_POD_NAME", "value": "x"}]},
            {
                "name": "main",
                "image": "registry/netslim-train:0.1.0",
                "env": [
                    variable("NETSLIM_NODES", "fieldRef", fieldPath="metadata.annotations['netslim/nodes']"),
                    {"name": "PLAIN", "value": "stays here"},
                    variable("AWS_ENDPOINT_URL_S3", "configMapKeyRef", name_="settings", key="endpoint"),
                    variable("AWS_ACCESS_KEY_ID", "secretKeyRef", name_="keys", key="id"),
                    variable("AWS_SECRET_ACCESS_KEY", "secretKeyRef", name_="keys", key="secret"),
                ],
                "volumeMounts": [
                    {"name": "scratch", "mountPath": "/tmp"},
                    {"name": "shm", "mountPath": "/dev/shm"},
                    {"name": "netslim-datasets", "mountPath": "/datasets"},
                    {"name": "kfp-launcher", "mountPath": "/kfp-launcher"},
                    {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
                ],
            },
        ],
        "volumes": [
            {"name": "kfp-launcher", "emptyDir": {}},
            {"name": "kube-api-access", "projected": {"sources": []}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "10Gi"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
            {"name": "netslim-datasets", "persistentVolumeClaim": {"claimName": "netslim-datasets"}},
        ],
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    data.prepare("digits", folder)
    return folder


@pytest.fixture
def pod() -> dict[str, Any]:
    return copy.deepcopy(POD)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pod: dict[str, Any]) -> Iterator[Kubernetes]:
    """A cluster that contains the step's pod; the Kubernetes settings of this process point to it."""
    with serving(tmp_path) as kubernetes:
        for module in ("kubernetes.config", "kubernetes.config.kube_config"):
            monkeypatch.setattr(f"{module}.KUBE_CONFIG_DEFAULT_LOCATION", str(kubernetes.kubeconfig))
        kubernetes.pods.held[pod["metadata"]["name"]] = pod
        yield kubernetes
