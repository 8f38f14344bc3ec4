"""Who reaches whom, by the rules of NetworkPolicy and by the names that MLflow answers to."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from netslim_kfp.pipelines.cluster.profiles import load
from tests.helpers.rendered import OVERLAYS, Object, cluster, of_kind, pods, render, tracking_server

pytestmark = pytest.mark.cluster

STRANGER = {"app": "someone-elses"}


def selects(selector: Object, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def allows(rules: list[Any], side: str, other: dict[str, str], port: int) -> bool:
    for rule in rules:
        peers, ports = rule.get(side), rule.get("ports")
        there = peers is None or any(
            "podSelector" in peer and selects(peer["podSelector"], other) for peer in peers
        )
        if there and (ports is None or any(entry["port"] == port for entry in ports)):
            return True
    return False


def reaches(overlay: str, source: dict[str, str], target: dict[str, str], port: int) -> bool:
    """Whether a pod reaches another of its namespace: each side that has a policy for it must agree."""
    policies = [policy["spec"] for policy in of_kind(cluster(overlay), "NetworkPolicy").values()]
    for labels, other, direction, side in (
        (source, target, "Egress", "to"),
        (target, source, "Ingress", "from"),
    ):
        ours = [p for p in policies if direction in p["policyTypes"] and selects(p["podSelector"], labels)]
        if ours and not any(allows(p.get(direction.lower(), []), side, other, port) for p in ours):
            return False
    return True


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_reaches_what_it_needs_and_nothing_else(overlay: str) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods(render(f"overlays/{overlay}"))}
    tracking, postgres = labels["netslim-tracking"], labels["netslim-postgres"]
    for profile in load().values():
        step = dict(profile.labels)
        assert reaches(overlay, step, tracking, 5000)
        assert not reaches(overlay, step, postgres, 5432), "only the server holds the password"
        assert not reaches(overlay, STRANGER, step, 8080)
        assert reaches(overlay, step, STRANGER, 443), "KFP's own services and the object store"
    assert reaches(overlay, tracking, postgres, 5432)
    assert reaches(overlay, tracking, STRANGER, 443)
    assert not reaches(overlay, tracking, STRANGER, 25)
    assert not reaches(overlay, STRANGER, tracking, 5000)
    assert not reaches(overlay, STRANGER, postgres, 5432)
    assert not reaches(overlay, postgres, STRANGER, 443)


def test_the_local_overlay_reaches_the_object_store_of_kfp_2_17() -> None:
    """KFP's Service `seaweedfs` has port 9000. Its pods listen on 8333, the port which policies see."""
    objects = render("overlays/local")
    for name, settings in of_kind(objects, "ConfigMap").items():
        assert settings["data"]["AWS_ENDPOINT_URL_S3"] == "http://seaweedfs.kubeflow:9000", name
    labels = {name: template["metadata"]["labels"] for name, template in pods(objects)}
    for port in (9000, 8333):
        assert reaches("local", labels["netslim-tracking"], {"app": "seaweedfs"}, port)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_lead_to_pods(overlay: str) -> None:
    objects = render(f"overlays/{overlay}")
    for service in of_kind(objects, "Service").values():
        found = [
            t
            for _, t in pods(objects)
            if service["spec"]["selector"].items() <= t["metadata"]["labels"].items()
        ]
        (template,) = found
        offered = {p["containerPort"] for c in template["spec"]["containers"] for p in c["ports"]}
        assert {port["port"] for port in service["spec"]["ports"]} == offered


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_answers_to_the_names_that_lead_to_it(overlay: str) -> None:
    from mlflow.server.security_utils import is_allowed_host_header  # here, because it takes seconds

    objects = render(f"overlays/{overlay}")
    namespace = objects[0]["metadata"]["namespace"]
    server = tracking_server(overlay)
    (option,) = [part for part in server["command"] if part.startswith("--allowed-hosts=")]
    allowed = option.removeprefix("--allowed-hosts=").replace("$(NAMESPACE)", namespace).split(",")
    told = of_kind(objects, "ConfigMap")["netslim"]["data"]["MLFLOW_TRACKING_URI"]
    headers = server["readinessProbe"]["httpGet"]["httpHeaders"]
    name = "netslim-tracking"
    for host in (
        urlsplit(told).netloc,
        next(header["value"] for header in headers if header["name"] == "Host"),
        f"{name}.{namespace}:5000",
        f"{name}.{namespace}.svc:5000",
        f"{name}.{namespace}.svc.cluster.local:5000",
        "localhost:15000",
    ):
        assert is_allowed_host_header(allowed, host), host
    for host in ("evil.example", "evil.example:5000", f"{name}.evil.example:5000", "10.0.0.1:5000", name):
        assert not is_allowed_host_header(allowed, host), host


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nodes_reach_each_other_on_any_port_and_nothing_else_reaches_them(overlay: str) -> None:
    ((_, template),) = pods(render("trainer"))
    labels = {name: made["metadata"]["labels"] for name, made in pods(render(f"overlays/{overlay}"))}
    node, step = template["metadata"]["labels"], dict(load()["train"].labels)
    assert reaches(overlay, node, node, 29500)
    assert reaches(overlay, node, node, 41234)
    assert reaches(overlay, node, labels["netslim-tracking"], 5000)
    assert not reaches(overlay, step, node, 29500)
    assert not reaches(overlay, STRANGER, node, 29500)
