"""`netslim doctor --host`: KFP's API over HTTP, and the namespace by a kubectl that answers from a table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netslim_kfp.pipelines.cli import check_backend as module
from netslim_kfp.pipelines.cli.check_backend import Result, check_backend
from tests.helpers.kfp_server import serving
from tests.helpers.kfp_state import Cluster

OBJECTS = {
    "serviceaccount/netslim",
    "configmap/netslim",
    "secret/netslim",
    "persistentvolumeclaim/netslim-datasets",
    "deployment/netslim-tracking",
    "service/seaweedfs",
}
STORE = "http://seaweedfs.kubeflow:9000"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name in ("NAMESPACE", "TOKEN", "SA_TOKEN_PATH", "CA"):
        monkeypatch.delenv(f"KF_PIPELINES_{name}", raising=False)
    kubectl(monkeypatch)
    with serving(Cluster()) as served:
        yield served


def kubectl(
    monkeypatch: pytest.MonkeyPatch, *, without: str = "", store: str = STORE, says: str = ""
) -> None:
    """A kubectl that knows OBJECTS but `without`; with `says` it fails with this message."""

    def answer(*arguments: str) -> subprocess.CompletedProcess[str]:
        name = arguments[1]
        if says:
            return subprocess.CompletedProcess(arguments, 1, "", says)
        if name not in OBJECTS - {without}:
            return subprocess.CompletedProcess(arguments, 1, "", "Error from server (NotFound)")
        settings = json.dumps({"data": {"AWS_ENDPOINT_URL_S3": store}})
        return subprocess.CompletedProcess(arguments, 0, settings if "json" in arguments else name, "")

    monkeypatch.setattr(module, "_kubectl", answer)
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")


def checks(cluster: Cluster) -> dict[str, Result]:
    return {name: (passed, name, text) for passed, name, text in check_backend(cluster.address, "kubeflow")}


@pytest.mark.parametrize("multi_user", [True, False])
def test_a_backend_with_everything_passes(cluster: Cluster, multi_user: bool) -> None:
    cluster.multi_user = multi_user
    found = checks(cluster)
    assert {name for name, (passed, _, _) in found.items() if passed is not True} == {"images"}
    assert found["KFP"][2] == f"version 2.17.0 at {cluster.address}"
    assert found["object store"][2] == f"AWS_ENDPOINT_URL_S3 = {STORE} is a Service"


@pytest.mark.parametrize("missing", sorted(OBJECTS - {"service/seaweedfs"}))
def test_a_missing_object_is_named_with_the_remedy(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    kubectl(monkeypatch, without=missing)
    passed, _, text = checks(cluster)[missing.partition("/")[0]]
    assert passed is False
    assert text.startswith(f"{missing} is not in kubeflow: ")
    assert "apply" in text


def test_the_objects_are_those_of_the_given_profiles_and_account(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kubectl(monkeypatch, without="persistentvolumeclaim/netslim-datasets")
    file = tmp_path / "mine.yaml"
    file.write_text('all: {dataset_claim: "", secret: keys}\n')
    results = check_backend(cluster.address, "kubeflow", profiles=str(file), service_account="mine")
    found = {name: text for _, name, text in results}
    assert "persistentvolumeclaim" not in found
    assert found["secret"].startswith("secret/keys is not in kubeflow")
    assert found["serviceaccount"].startswith("serviceaccount/mine is not in kubeflow")


def test_a_store_that_is_no_service_is_one_sentence_with_the_setting(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(monkeypatch, store="http://minio-service.kubeflow:9000")
    assert checks(cluster)["object store"] == (
        False,
        "object store",
        "there is no Service minio-service in kubeflow, so the tracking server has no store: change "
        "AWS_ENDPOINT_URL_S3 in the overlay's settings.env (is http://minio-service.kubeflow:9000)",
    )


@pytest.mark.parametrize("store", ["https://s3.us-east-1.amazonaws.com", ""])
def test_a_store_elsewhere_is_not_judged(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    kubectl(monkeypatch, store=store)
    assert checks(cluster)["object store"][0] is None


def test_without_rights_in_the_namespace_nothing_is_judged(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(monkeypatch, says="Unable to connect to the server: i/o timeout\n")
    passed, _, text = checks(cluster)["namespace"]
    assert passed is None
    assert text == "not checked: kubectl: Unable to connect to the server: i/o timeout"


def test_a_backend_that_is_too_old_or_wants_a_token_ends_the_checks(cluster: Cluster) -> None:
    cluster.token = "t"
    assert checks(cluster)["KFP"][0] is False
    cluster.token, cluster.version = "", "2.5.0"
    found = checks(cluster)
    assert set(found) == {"KFP"}
    assert "too old" in found["KFP"][2]
