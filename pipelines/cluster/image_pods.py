"""One pod for each image of a compiled pipeline, with the settings of the step that requests most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.utils import parse_quantity

from netslim import __version__
from netslim.steps.launch.trainjob_manifest import NodeRequest
from netslim_kfp.pipelines.cluster.platform import NODES_NOTE

__all__ = ["CONTAINER", "LABEL", "OTHER_VERSION", "ImagePod", "image_pods", "pod_manifest"]

LABEL = "netslim/doctor"  # its value is the same for all pods of one check
CONTAINER = "main"
OTHER_VERSION = 64  # exit code of an image whose netslim is not this version
PROGRAM = (
    "import sys, netslim; print('netslim', netslim.__version__); "
    f"sys.exit({OTHER_VERSION} * (netslim.__version__ != sys.argv[1]))"
)
SPARE = 60  # seconds of a pod after the end of the check: only a check that was killed leaves a pod so long
# What KFP 2.17 adds to the container of a step. Without it a namespace with the Pod Security Standard
# "restricted" would refuse this pod but not the steps.
CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}  # also from KFP; a sidecar would keep the pod running


@dataclass(frozen=True)
class ImagePod:
    """An image, and the settings of the step whose pod is the most difficult to place.

    `limits` are also the requests. `settings` are those of the step in the pipeline's platform document.
    """

    image: str
    limits: Mapping[str, str]
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The image's name without registry and tag, such as `train` for `r.example/netslim-train:0.1.0`."""
        return self.image.rpartition("/")[2].partition(":")[0].removeprefix("netslim-")


def image_pods(compiled: Mapping[str, Any], platform: Mapping[str, Any]) -> list[ImagePod]:
    """The pods for the two documents of a compiled pipeline, in the order of their images' names."""
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found: dict[str, ImagePod] = {}
    for label, executor in compiled["deploymentSpec"]["executors"].items():
        container = executor["container"]
        pod = ImagePod(container["image"], _limits(container["resources"], settings[label]), settings[label])
        other = found.setdefault(pod.image, pod)
        if _demand(pod.limits) > _demand(other.limits):
            found[pod.image] = pod
    return [found[image] for image in sorted(found)]


def pod_manifest(
    pod: ImagePod, name: str, *, check: str, service_account: str, timeout: int
) -> dict[str, Any]:
    """The pod as Kubernetes takes it: it prints netslim's version, and fails when that is not this version.

    Args:
        check: the value of LABEL.
        timeout: seconds that the check takes at most.
    """
    settings = pod.settings
    resources = dict(pod.limits)
    secrets = [{"name": each["secretName"]} for each in settings.get("imagePullSecret", ())]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {**settings.get("podMetadata", {}).get("labels", {}), LABEL: check},
            "annotations": NO_SIDECAR,
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": timeout + SPARE,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "serviceAccountName": service_account,
            "nodeSelector": settings.get("nodeSelector", {}).get("labels", {}),
            "tolerations": list(settings.get("tolerations", ())),
            "imagePullSecrets": secrets,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": pod.image,
                    "imagePullPolicy": settings.get("imagePullPolicy", "IfNotPresent"),
                    "command": ["python3", "-c", PROGRAM, __version__],
                    "resources": {"requests": resources, "limits": resources},
                    "securityContext": {**CONFINED, **settings.get("securityContext", {})},
                    # The status gets the end of the log, so nobody needs the right to read logs.
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }
            ],
        },
    }


def _limits(resources: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """What the step's container gets; for a training on several nodes, what each node gets."""
    nodes = settings.get("podMetadata", {}).get("annotations", {}).get(NODES_NOTE)
    if nodes:
        return dict(NodeRequest.from_json(nodes).limits)
    limits = {"cpu": resources["resourceCpuLimit"], "memory": resources["resourceMemoryLimit"]}
    if accelerator := resources.get("accelerator"):
        limits[accelerator["resourceType"]] = accelerator["resourceCount"]
    return limits


def _demand(limits: Mapping[str, str]) -> tuple[Any, ...]:
    """Orders pods: GPUs are the rarest, then memory, then processors."""
    gpus: Iterable[str] = (value for name, value in limits.items() if name not in ("cpu", "memory"))
    return (sum(map(int, gpus)), parse_quantity(limits["memory"]), parse_quantity(limits["cpu"]))
