"""The Services that the manifests and the guide name are KFP 2.17's, or our own.

tests/data/kfp-2.17/services.json has the names and ports of KFP's standalone manifests, as far as they are of
use here. Earlier ones called the object store `minio-service`; a name that is gone shows only in a cluster.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest

from tests.helpers.rendered import ROOT, cluster, of_kind, settings

pytestmark = pytest.mark.cluster

KFP: dict[str, list[int]] = json.loads((ROOT.parent / "tests/data/kfp-2.17/services.json").read_text())
OURS = {
    name: [port["port"] for port in service["spec"]["ports"]]
    for name, service in of_kind(cluster("local"), "Service").items()
}


def test_the_store_of_the_local_overlay_is_a_service_of_kfp() -> None:
    address = urlsplit(settings(ROOT / "overlays/local/settings.env")["AWS_ENDPOINT_URL_S3"])
    service, _, namespace = str(address.hostname).partition(".")
    assert namespace == "kubeflow"
    assert address.port in KFP[service]


def test_the_tracking_server_may_talk_to_every_port_of_that_store() -> None:
    policy = of_kind(cluster("local"), "NetworkPolicy")["netslim-tracking"]
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
    assert {8333, 9000} <= ports & set(KFP["seaweedfs"])


def test_services_in_settings_and_guide_exist() -> None:
    guide = (ROOT.parent / "docs/operate.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bservice/([a-z-]+)", guide))
    assert named
    assert named <= set(KFP) | set(OURS)
    for name, port in re.findall(r"service/([a-z-]+) (\d+)(?::\d+)?\b", guide):
        assert int(port) in {**KFP, **OURS}[name]


def test_what_a_pod_of_a_run_requests_of_the_disk_is_in_the_guide() -> None:
    """The LimitRange is for each container; Argo adds `wait` to `main`, and Kubernetes adds the two up."""
    limits = of_kind(cluster("gpu-cluster"), "LimitRange")["netslim-ephemeral-storage"]
    (each,) = limits["spec"]["limits"]
    request = each["defaultRequest"]["ephemeral-storage"]
    total = 2 * int(request.removesuffix("Mi"))
    assert total <= 1024  # a node with a small disk must take several drivers at a time
    guide = (ROOT.parent / "docs/operate.md").read_text(encoding="utf-8")
    assert f"requests {request} for each container" in guide
    assert f"a pod requests {total}Mi" in guide.replace("\n", " ")
