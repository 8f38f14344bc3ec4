"""`netslim doctor --host --start-images`: the pods that a compiled run needs, and a line for each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from netslim import __version__
from netslim.cli.doctor import doctor
from netslim.errors import ConfigError
from netslim_kfp.components.images import image
from netslim_kfp.pipelines.cli import check_backend as backend_module
from netslim_kfp.pipelines.cli.check_images import Result, check_images
from netslim_kfp.pipelines.cluster.profiles import load
from tests.helpers.kfp_server import serving as kfp_serving
from tests.helpers.kfp_state import Cluster
from tests.helpers.kubernetes_server import NAMESPACE, Kubernetes, serving

MINE = """
all:
  image_pull_secrets: [pull]
  image_pull_policy: Always
  labels: {team: vision}
train:
  memory: 64Gi
  node_selector: {node-pool: a100}
  tolerations: [{key: dedicated, operator: Equal, value: ml, effect: NoSchedule}]
"""
GOOD = {"terminated": {"exitCode": 0, "reason": "Completed"}}


def status(state: dict[str, Any]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "i",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }
    return {"phase": "Pending", "containerStatuses": [container]}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    for name in ("NAMESPACE", "TOKEN", "SA_TOKEN_PATH", "CA"):
        monkeypatch.delenv(f"KF_PIPELINES_{name}", raising=False)
    monkeypatch.setattr(backend_module.shutil, "which", lambda name: None)  # no kubectl
    with serving(tmp_path) as kubernetes:
        for module in ("kubernetes.config", "kubernetes.config.kube_config"):
            monkeypatch.setattr(f"{module}.KUBE_CONFIG_DEFAULT_LOCATION", str(kubernetes.kubeconfig))
        kubernetes.pods.statuses = {image(name): [status(GOOD)] for name in ("data", "export", "train")}
        yield kubernetes


def results(profiles: str | None = None, **trainings: Any) -> list[Result]:
    return list(check_images(NAMESPACE, load(profiles, **trainings), "runner", 30))


def test_the_three_images_of_the_steps_are_started(cluster: Kubernetes) -> None:
    first, *found = results()
    server = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    where = f"namespace team at {server}"
    assert first == (None, "images", f"starting 3 pods in {where}, for at most 30 s")
    assert found == [
        (True, f"image {name}", f"netslim-{name}:{__version__} starts, with netslim {__version__}")
        for name in ("data", "export", "train")
    ]


def test_a_pod_has_what_the_profiles_give_to_its_step(cluster: Kubernetes, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE)
    results(str(file), gpus=4)
    specs = {pod["spec"]["containers"][0]["image"]: pod["spec"] for pod in cluster.pods.created}
    assert all(spec["imagePullSecrets"] == [{"name": "pull"}] for spec in specs.values())
    assert {pod["metadata"]["labels"]["team"] for pod in cluster.pods.created} == {"vision"}
    train, data = specs[image("train")], specs[image("data")]
    assert train["nodeSelector"] == {"node-pool": "a100"}
    assert [each["key"] for each in train["tolerations"]] == ["nvidia.com/gpu", "dedicated"]
    wanted = {"cpu": "4", "memory": "64Gi", "nvidia.com/gpu": "4"}
    assert train["containers"][0]["resources"] == {"requests": wanted, "limits": wanted}
    assert (data["nodeSelector"], data["tolerations"]) == ({}, [])
    assert data["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "8Gi"}
    for spec in specs.values():
        assert spec["serviceAccountName"] == "runner"
        assert spec["containers"][0]["imagePullPolicy"] == "Always"
        assert spec["containers"][0]["securityContext"]["runAsNonRoot"] is True


def test_without_gpus_no_pod_requests_one(cluster: Kubernetes) -> None:
    results(gpus=0)
    assert "nvidia" not in str(cluster.pods.created)


def test_an_image_that_cannot_be_pulled_fails_the_check(cluster: Kubernetes) -> None:
    cluster.pods.statuses[image("train")] = [
        status({"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}})
    ]
    *_, (passed, name, text) = results()
    assert (passed, name) == (False, "image train")
    assert text.startswith(f"{image('train')} cannot be pulled: manifest unknown: check NETSLIM_REGISTRY")


def test_a_missing_permission_is_no_failure(cluster: Kubernetes) -> None:
    cluster.pods.forbidden = {"create"}
    _, last = results()
    assert last == (
        None,
        "images",
        "not checked: you may not create pods in team (403). "
        "Ask for the right to list, create and delete pods, as in the role kubeflow-edit.",
    )


def run(kfp: Cluster, *options: str) -> Any:
    return CliRunner().invoke(doctor, ["--host", kfp.address, "--namespace", NAMESPACE, *options])


@pytest.mark.parametrize(("multi_user", "account"), [(True, "default-editor"), (False, "pipeline-runner")])
def test_the_pods_have_the_account_that_kfp_gives_to_steps(
    cluster: Kubernetes, multi_user: bool, account: str
) -> None:
    with kfp_serving(Cluster()) as kfp:
        kfp.multi_user = multi_user
        result = run(kfp, "--start-images")
        assert result.exit_code == 0, result.output
        assert {pod["spec"]["serviceAccountName"] for pod in cluster.pods.created} == {account}
        run(kfp, "--start-images", "--service-account", "mine", "--start-timeout", "7")
    assert cluster.pods.created[-1]["spec"]["serviceAccountName"] == "mine"
    assert cluster.pods.created[-1]["spec"]["activeDeadlineSeconds"] == 67


def test_nothing_is_started_unless_it_is_asked_for(cluster: Kubernetes) -> None:
    with kfp_serving(Cluster()) as kfp:
        result = run(kfp)
    assert cluster.pods.created == []
    assert "not started: --start-images starts a pod of each for a moment" in result.output


def test_images_need_a_backend() -> None:
    with pytest.raises(ConfigError, match="start_images: there is no cluster"):
        CliRunner().invoke(doctor, ["--start-images"], catch_exceptions=False)
