"""Each step gets its profile on a cluster, and the same file still runs where there is none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from netslim.errors import ConfigError
from netslim.steps.gpu_check import EXPECTED
from netslim.steps.launch.trainjob import NAMESPACE, NODES, POD
from netslim.steps.launch.trainjob_manifest import NodeRequest
from netslim.storage.backends import CHECKPOINTS
from netslim_kfp.components import readme
from netslim_kfp.pipelines.cluster.platform import placed_on
from netslim_kfp.pipelines.cluster.profiles import PROFILE_OF_STEP, load
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.slimming.pipeline import build
from netslim_kfp.pipelines.sweeps import pipeline

PIPELINES = {
    "slimming": lambda place: build(1, place=place),
    "sweep-lambda": lambda place: pipeline.build_lambda(place=place),
    "sweep-percent": lambda place: pipeline.build_percent(place=place),
}


@cache
def documents(name: str = "slimming", profiles: str = "", **changes: Any) -> tuple[dict[str, Any], ...]:
    """The compiled IR and its platform's settings. Compiled once for equal arguments, so change neither."""
    with tempfile.TemporaryDirectory() as folder:
        if profiles:
            mine = Path(folder, "mine.yaml")
            mine.write_text(profiles)
            changes["path"] = mine
        path = Path(folder, "ir.yaml")
        compile_pipeline(PIPELINES[name](placed_on(load(**changes))), path)
        return tuple(yaml.load_all(path.read_text(), yaml.CSafeLoader))


def compiled(name: str = "slimming", profiles: str = "", **changes: Any) -> tuple[Any, Any]:
    """The IR's executors and the platform's, by label."""
    ir, platform = documents(name, profiles, **changes)
    return ir["deploymentSpec"]["executors"], platform["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ]


def steps(labels: Any) -> Iterator[tuple[str, str]]:
    """(label, step): exec-train-sparse-2 is a train_sparse."""
    for label in labels:
        words = label.removeprefix("exec-").split("-")
        yield label, "_".join(words[:-1] if words[-1].isdigit() else words)


@pytest.mark.parametrize("name", PIPELINES)
def test_no_step_of_any_pipeline_is_forgotten(name: str) -> None:
    executors, settings = compiled(name)
    assert set(executors) == set(settings)
    for label, _ in steps(executors):
        assert executors[label]["container"]["resources"]["resourceMemoryLimit"], label


def test_every_component_has_a_kind_and_those_that_want_a_gpu_get_one() -> None:
    profiles = load()
    assert set(PROFILE_OF_STEP) == set(readme.NAMES)
    assert set(PROFILE_OF_STEP.values()) == set(profiles)
    for name in readme.NAMES:
        metadata = yaml.safe_load((readme.HERE / name / "metadata.yaml").read_text())
        assert metadata["gpu"] == (profiles[PROFILE_OF_STEP[name]].gpus > 0), name


def test_a_training_step_gets_what_its_profile_says() -> None:
    profiles = (
        "all: {image_pull_secrets: [registry]}\n"
        "train:\n"
        "  cpu: 8\n"
        "  memory: 64Gi\n"
        "  node_selector: {node-pool: a100}\n"
        "  tolerations: [{key: dedicated, operator: Equal, value: ml, effect: NoSchedule}]\n"
    )
    executors, settings = compiled("slimming", profiles, gpus=4)
    for label, step in steps(executors):
        resources, extra = executors[label]["container"]["resources"], settings[label]
        assert extra["imagePullSecret"][0]["secretName"] == "registry"
        if PROFILE_OF_STEP[step] != "train":
            assert "accelerator" not in resources
            assert "nodeSelector" not in extra
            continue
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert resources["accelerator"]["resourceCount"] == "4"
        assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == ("8", "8")
        assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == ("64Gi", "64Gi")
        assert extra["nodeSelector"] == {"labels": {"node-pool": "a100"}}
        assert [toleration["key"] for toleration in extra["tolerations"]] == ["nvidia.com/gpu", "dedicated"]
        assert {
            "mountPath": "/dev/shm",
            "medium": "Memory",
            "volumeName": "shm",
            "sizeLimit": "2Gi",
        } in extra["emptyDirMounts"]
        assert int(extra["activeDeadlineSeconds"]) == 48 * 3600
        assert extra["pvcMount"][0]["constant"] == "netslim-datasets"


def test_the_promise_of_gpus_and_the_runs_name_come_from_the_pods_own_labels() -> None:
    executors, settings = compiled(gpus=2)
    for label, step in steps(executors):
        paths = {env["name"]: env["fieldPath"] for env in settings[label]["fieldPathAsEnv"]}
        assert paths["KFP_RUN_ID"] == "metadata.labels['pipeline/runid']"
        labels = settings[label]["podMetadata"]["labels"]
        if PROFILE_OF_STEP[step] == "train":
            assert paths[EXPECTED] == "metadata.labels['netslim/gpus']"
            assert labels["netslim/gpus"] == "2"
        else:
            assert EXPECTED not in paths
            assert "netslim/gpus" not in labels
        # An environment variable in the IR itself would reach local runs, and change their cache keys. The
        # tag of the images is one of `evaluate`, which is never cached.
        written = {each["name"] for each in executors[label]["container"].get("env", ())}
        assert written <= ({"NETSLIM_IMAGE_TAG"} if step == "evaluate" else set())


def test_checkpoints_go_to_the_bucket_of_trainings_that_may_use_it() -> None:
    """The address stands there; the keys come from the Secret, and only trainings get them."""
    executors, settings = compiled(checkpoints="s3://bucket/kept")
    for label, step in steps(executors):
        env = {each["name"]: each["value"] for each in executors[label]["container"].get("env", ())}
        secrets = {
            pair["envVar"] for part in settings[label].get("secretAsEnv", ()) for pair in part["keyToEnv"]
        }
        env.pop("NETSLIM_IMAGE_TAG", None)
        trains = step in ("train_sparse", "fine_tune")
        assert env == ({CHECKPOINTS: "s3://bucket/kept"} if trains else {})
        assert ({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= secrets) == (
            trains or step == "prepare_data"
        )
    with pytest.raises(ConfigError, match=r"checkpoints = /mnt/kept.*s3://bucket/folder"):
        load(checkpoints="/mnt/kept")


def test_a_training_on_several_nodes_waits_for_them_in_a_small_pod() -> None:
    """What a node gets is the profile's; the pod that asks for the nodes says so of itself."""
    executors, settings = compiled(nodes=3, gpus=8, checkpoints="s3://bucket/kept")
    for label, step in steps(executors):
        paths = {env["name"]: env["fieldPath"] for env in settings[label]["fieldPathAsEnv"]}
        if PROFILE_OF_STEP[step] != "train":
            assert NODES not in paths
            continue
        assert paths[NODES] == "metadata.annotations['netslim/nodes']"
        assert (paths[POD], paths[NAMESPACE]) == ("metadata.name", "metadata.namespace")
        wish = NodeRequest.from_json(settings[label]["podMetadata"]["annotations"]["netslim/nodes"])
        assert wish == NodeRequest(3, 8, {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "8"})
        assert EXPECTED not in paths
        resources = executors[label]["container"]["resources"]
        assert "accelerator" not in resources
        assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("1", "2Gi")
        assert [each["key"] for each in settings[label]["tolerations"]] == ["nvidia.com/gpu"]
    one = compiled(nodes=1, checkpoints="s3://bucket/kept")
    assert one == compiled(checkpoints="s3://bucket/kept")


def test_without_gpus_nothing_of_them_is_left() -> None:
    executors, settings = compiled(gpus=0)
    assert "nvidia" not in str(executors) + str(settings)
    assert EXPECTED not in str(settings)


def test_settings_and_secrets_are_references_that_may_be_absent() -> None:
    _, settings = compiled()
    by_step = {step: settings[label] for label, step in steps(settings)}
    found = {
        step: {pair["envVar"] for kind in ("configMapAsEnv", "secretAsEnv") for block in extra.get(kind, ())
               for pair in block["keyToEnv"] if block["optional"]}
        for step, extra in by_step.items()
    }  # fmt: skip
    assert found["evaluate"] == {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "KF_PIPELINES_UI_ENDPOINT"}
    assert found["prepare_data"] == {
        "AWS_ENDPOINT_URL_S3",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    # MLflow's server writes the artifacts: whoever logs to it holds no key of the object store.
    assert not any(name.startswith("AWS") for step in ("evaluate", "finish") for name in found[step])


def test_tasks_that_may_be_retried_wait_ever_longer() -> None:
    ir, _ = documents()
    tasks = ir["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert tasks["fine-tune"]["retryPolicy"] == {
        "maxRetryCount": 3,
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": f"{4 * (48 + 24) * 3600 + 30 + 60 + 120}s",
    }
    assert "retryPolicy" not in tasks["prune"]


@pytest.mark.parametrize(("retries", "timeout"), [(1, "90s"), (3, "48h"), (8, "2d")])
def test_no_try_is_killed_before_its_own_time_out(timeout: str, retries: int) -> None:
    """Adds up the tries and pauses from the numbers that the backend reads; every try takes all its time."""
    kinds = sorted(set(PROFILE_OF_STEP.values()))
    settings = f"{{retries: {retries}, timeout: {timeout}, backoff: 7m}}\n"
    seen = set()
    for step, policy, time_out in tries("".join(f"{kind}: {settings}" for kind in kinds)):
        clock, pause = time_out, float(policy["backoffDuration"].removesuffix("s"))
        for _ in range(policy["maxRetryCount"]):
            clock += pause + time_out
            pause *= policy["backoffFactor"]
        assert int(policy["backoffMaxDuration"].removesuffix("s")) >= clock, step
        assert policy["maxRetryCount"] == retries, step
        seen.add(step)
    assert seen == set(PROFILE_OF_STEP)


def test_the_window_of_very_many_retries_is_still_a_number_that_kfp_can_hold() -> None:
    windows = {policy["backoffMaxDuration"] for step, policy, _ in tries("train: {retries: 100}\n")
               if PROFILE_OF_STEP[step] == "train"}  # fmt: skip
    assert windows == {"315360000s"}


def tries(profiles: str) -> Iterator[tuple[str, dict[str, Any], int]]:
    """(step, its retry policy, its pods' time-out in seconds) of every task that may be retried."""
    ir, platform = documents("slimming", profiles)
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for group in (ir["root"], *ir["components"].values()):
        for task in group.get("dag", {}).get("tasks", {}).values():
            if "retryPolicy" in task:
                label = ir["components"][task["componentRef"]["name"]]["executorLabel"]
                ((_, step),) = steps([label])
                yield step, task["retryPolicy"], int(settings[label]["activeDeadlineSeconds"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {gpus: 1}\n", r"training: no such setting\. Did you mean train"),
        ("train: {gpu: 1}\n", r"train = gpu: no such setting\. Did you mean gpus"),
        ("train: {gpus: -1}\n", r"gpus = -1: must be a whole number of at least 0"),
        ("train: {nodes: 0}\n", r"nodes = 0: must be at least 1"),
        ("train: {nodes: 2}\n", r"nodes = 2: needs checkpoints\. Name an s3:// folder"),
        ("all: {nodes: 2, checkpoints: s3://b}\n", r"nodes = 2: only trainings.*below train"),
        ("train: {gpus: true}\n", r"gpus = True: must be a whole number"),
        ("train: {memory: 16 GB}\n", r"memory = 16 GB: .*Write 8Gi"),
        ("train: {memory: 16}\n", r"memory = 16: must be text"),
        ("data: {timeout: forever}\n", r"timeout = forever: .*Write 90s, 30m, 4h or 2d"),
        ("all: {labels: {team: 7}}\n", r'labels = .*must be a mapping of text to text; put numbers'),
        ("all: {tolerations: [{taint: x}]}\n", r"tolerations = .*must be a list of tolerations with key"),
        ("all: {image_pull_policy: Sometimes}\n", r"image_pull_policy = Sometimes"),
        ("all: {image_pull_secrets: registry}\n", r"must be a list of names"),
        ("train\n", r"must hold sections of settings"),
        ("train: [\n", r"not valid YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_remedy(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(file)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"profiles = nowhere\.yaml: cannot be read"):
        load("nowhere.yaml")
