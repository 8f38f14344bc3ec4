"""What an operator's security review asks of every pod, and that everything named is there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from netslim import __version__
from netslim.errors import NetslimError, PipelineError, StorageError, TrackingError
from netslim.steps.launch import trainjob_manifest
from netslim_kfp.components.images import ImageName, image
from netslim_kfp.pipelines.cluster.platform import placed_on
from netslim_kfp.pipelines.cluster.profiles import load
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.slimming.pipeline import build
from tests.helpers.rendered import OVERLAYS, ROOT, Object, cluster, containers, every_pod, of_kind, render

pytestmark = pytest.mark.cluster

KFPS_OWN = {("Secret", "mlpipeline-minio-artifact")}  # in the namespace of a standalone KFP


def test_a_pod_can_do_no_more_than_its_work() -> None:
    for where, template in every_pod():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, where
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert spec["automountServiceAccountToken"] is False, where
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec), where
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), where
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where


def test_a_pod_asks_for_what_it_uses_and_has_limits() -> None:
    for where, template in every_pod():
        for container in containers(template):
            for side in ("requests", "limits"):
                assert set(container["resources"][side]) == {"cpu", "memory", "ephemeral-storage"}, where
        for volume in template["spec"].get("volumes", []):
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], where


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_server_has_probes_of_start_readiness_and_life(overlay: str) -> None:
    for name, thing in of_kind(render(f"overlays/{overlay}"), "Deployment", "StatefulSet").items():
        for container in thing["spec"]["template"]["spec"]["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name


def test_images_are_ours_of_this_version_or_pinned() -> None:
    ours = {image(kind, registry="", tag=__version__) for kind in get_args(ImageName)}
    used = {container["image"] for _, template in every_pod() for container in containers(template)}
    others = used - ours
    assert {name.split(":")[0] for name in others} == {"postgres"}
    assert used - others, "some are ours"
    assert all(re.fullmatch(r"postgres:\d+\.\d+-\w+", name) for name in others)


def references(node: Any) -> Iterator[tuple[str, str, str | None, bool]]:
    """(kind, name, key, optional) of everything that a manifest names."""
    if isinstance(node, dict):
        for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if field in node:
                yield kind, node[field]["name"], node[field]["key"], node[field].get("optional", False)
        if "claimName" in node:
            yield "PersistentVolumeClaim", node["claimName"], None, False
        if "serviceAccountName" in node:
            yield "ServiceAccount", node["serviceAccountName"], None, False
        if "secretName" in node:
            yield "Secret", node["secretName"], None, False
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def check(objects: tuple[Object, ...], named: Iterator[tuple[str, str, str | None, bool]]) -> int:
    there = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
    seen = 0
    for kind, name, key, optional in named:
        seen += 1
        if (kind, name) in KFPS_OWN:
            continue
        assert (kind, name) in there, f"nobody makes the {kind} {name}"
        assert key is None or optional or key in there[kind, name]["data"], f"{kind} {name} has no {key}"
    return seen


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_that_manifests_name_is_there(overlay: str) -> None:
    objects = cluster(overlay)
    assert check(objects, references(list(objects))) > 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_that_compiled_pipelines_name_is_there(overlay: str, tmp_path: Path) -> None:
    compile_pipeline(build(1, place=placed_on(load())), tmp_path / "ir.yaml")
    _, platform = yaml.safe_load_all((tmp_path / "ir.yaml").read_text())

    def named() -> Iterator[tuple[str, str, str | None, bool]]:
        for step in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            for block in step.get("configMapAsEnv", []):
                for pair in block["keyToEnv"]:
                    yield "ConfigMap", block["configMapName"], pair["configMapKey"], False
            for block in step.get("secretAsEnv", []):
                for pair in block["keyToEnv"]:
                    yield "Secret", block["secretName"], pair["secretKey"], False
            for block in step.get("pvcMount", []):
                yield "PersistentVolumeClaim", block["constant"], None, False

    assert check(cluster(overlay), named()) > 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_in_the_overlays_namespace(overlay: str) -> None:
    assert len({thing["metadata"]["namespace"] for thing in render(f"overlays/{overlay}")}) == 1


def test_no_secret_is_in_the_repository_nor_applied_with_the_rest() -> None:
    for overlay in OVERLAYS:
        assert not of_kind(render(f"overlays/{overlay}"), "Secret")
    examples = list(ROOT.glob("secrets/*.env.example"))
    assert examples
    for example in examples:
        lines = [line for line in example.read_text().splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[A-Z_]+=", line) for line in lines), example
        ignored = ["git", "check-ignore", "--quiet", str(example.with_suffix(""))]
        assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_role_is_what_a_run_needs_and_names_what_it_reads(overlay: str) -> None:
    (role,) = of_kind(render(f"overlays/{overlay}"), "Role").values()
    may = {
        (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert may == {
        ("workflowtaskresults", "create"),
        ("workflowtaskresults", "patch"),
        ("workflowtasksets", "list"),
        ("workflowtasksets", "watch"),
        ("workflowtasksets/status", "patch"),
        ("configmaps", "get"),
        ("secrets", "get"),
        ("pods", "get"),
        ("pods", "list"),
    }
    for rule in role["rules"]:
        if {"configmaps", "secrets"} & set(rule["resources"]):
            assert rule["resourceNames"]
    assert not of_kind(render(f"overlays/{overlay}"), "ClusterRole", "ClusterRoleBinding")


def test_kfp_can_read_its_launchers_settings() -> None:
    settings = of_kind(render("overlays/gpu-cluster"), "ConfigMap")["kfp-launcher"]["data"]
    assert settings["defaultPipelineRoot"].startswith("s3://")
    provider = yaml.safe_load(settings["providers"])["s3"]["default"]
    assert set(provider) <= {
        "endpoint",
        "region",
        "disableSSL",
        "forcePathStyle",
        "maxRetries",
        "credentials",
    }
    assert not provider["endpoint"].startswith("http"), "KFP wants a host here, not an address"
    reference = provider["credentials"]["secretRef"]
    secret = of_kind(render("secrets"), "Secret")[reference["secretName"]]
    assert {reference["accessKeyKey"], reference["secretKeyKey"]} <= set(secret["data"])
    (role,) = of_kind(render("overlays/gpu-cluster"), "Role").values()
    readable = {
        name for rule in role["rules"] if "secrets" in rule["resources"] for name in rule["resourceNames"]
    }
    assert reference["secretName"] in readable


def test_the_example_of_serving_follows_kserves_rules() -> None:
    (service,) = of_kind(render("serving"), "InferenceService").values()
    model = service["spec"]["predictor"]["model"]
    assert (service["apiVersion"], model["modelFormat"]["name"]) == ("serving.kserve.io/v1beta1", "onnx")
    assert model["runtime"] == "kserve-tritonserver", "two runtimes offer themselves for onnx"
    assert Path(model["storageUri"]).suffix == "", "what looks like a suffix must be .onnx"
    assert model["securityContext"]["allowPrivilegeEscalation"] is False
    assert set(model["resources"]) == {"requests", "limits"}
    bucket_and_folder = model["storageUri"].partition("//")[2].partition("/")[2]
    guide = (ROOT.parent / "docs" / "operate.md").read_text()
    assert f"/{bucket_and_folder} --triton {service['metadata']['name']}\n" in guide, "what publish writes"


def test_the_runtime_is_what_trainjobs_ask_for() -> None:
    (runtime,) = of_kind(render("trainer"), "TrainingRuntime").values()
    asked = trainjob_manifest.RUNTIME
    assert (runtime["kind"], runtime["metadata"]["name"]) == (asked["kind"], asked["name"])
    assert runtime["apiVersion"] == f"{trainjob_manifest.GROUP}/{trainjob_manifest.VERSION}"
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert job["name"] == container["name"] == "node", "Trainer looks for it by this name"
    assert container["image"] == image("train", registry="", tag=__version__)


def test_a_node_that_ends_by_a_users_mistake_is_not_started_again() -> None:
    """By its exit code: all that mean a mistake, and none that another try may mend."""
    (runtime,) = of_kind(render("trainer"), "TrainingRuntime").values()
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    (rule,) = job["template"]["spec"]["podFailurePolicy"]["rules"]
    passing = {NetslimError, TrackingError, StorageError, PipelineError}
    known = {kind.exit_code for kind in NetslimError.__subclasses__()}
    assert set(rule["onExitCodes"]["values"]) == known - {kind.exit_code for kind in passing}


def test_a_step_may_do_with_trainjobs_what_it_does() -> None:
    (role,) = of_kind(render("trainer"), "Role").values()
    (rule,) = role["rules"]
    assert (rule["apiGroups"], rule["resources"]) == ([trainjob_manifest.GROUP], [trainjob_manifest.PLURAL])
    assert set(rule["verbs"]) == {"create", "get", "delete"}
    (binding,) = of_kind(render("trainer"), "RoleBinding").values()
    (account,) = of_kind(render("overlays/local"), "ServiceAccount").keys() & {binding["subjects"][0]["name"]}
    assert account == "netslim"
