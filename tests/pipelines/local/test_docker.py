"""What a step's container gets of the host: its user, some of its environment, some of its folders."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import docker
import pytest
from kfp.local import docker_task_handler

from netslim import progress
from netslim.errors import PipelineError
from netslim_kfp.pipelines.local import docker as docker_runner
from netslim_kfp.pipelines.local.artifacts_file import ArtifactsFile
from netslim_kfp.pipelines.local.steps import StepProcesses


def test_the_steps_get_what_they_need_of_the_environment_and_no_more() -> None:
    host = {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "OMP_NUM_THREADS": "1",
        "https_proxy": "http://proxy:3128",
        "PATH": "/home/me/bin",
        "HOME": "/home/me",
        "SECRET_OF_ANOTHER": "x",
        "NETSLIM_RUN_KEY": "of the host",
    }
    assert docker_runner.environment(host, {"NETSLIM_RUN_KEY": "of the run"}) == {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "OMP_NUM_THREADS": "1",
        "https_proxy": "http://proxy:3128",
        "NETSLIM_RUN_KEY": "of the run",
        "HOME": "/tmp",
    }


def seen(output: Path, arguments: dict[str, object], uri: str = "") -> dict[str, bool]:
    """The folders in a container, and whether it may only read them; by the same path inside."""
    found = list(docker_runner.mounts(output, arguments, {"MLFLOW_TRACKING_URI": uri}))
    assert all(mount["Source"] == mount["Target"] and mount["Type"] == "bind" for mount in found)
    return {mount["Source"]: bool(mount.get("ReadOnly")) for mount in found}


def test_the_output_is_seen_with_the_database_in_it(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert seen(output, {}, f"sqlite:///{output}/mlflow.db") == {str(output): False}
    assert seen(output, {}, "http://127.0.0.1:5000") == {str(output): False}


def test_a_database_elsewhere_is_seen_too(tmp_path: Path) -> None:
    there = seen(tmp_path / "out", {}, f"sqlite:///{tmp_path}/tracking/mlflow.db")
    assert there == {str(tmp_path / "out"): False, str(tmp_path / "tracking"): False}


@pytest.mark.parametrize("download", [False, True])
def test_the_data_are_seen_and_left_alone_unless_they_are_to_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = docker_runner.absolute({"data_root": "photos", "download": download, "passes": 2})
    assert arguments == {"data_root": str(tmp_path / "photos"), "download": download, "passes": 2}
    there = seen(tmp_path / "out", arguments)
    assert there == {str(tmp_path / "out"): False, str(tmp_path / "photos"): not download}


@pytest.mark.parametrize("root", ["", "s3://bucket/prefix"])
def test_what_is_no_folder_is_not_mounted(tmp_path: Path, root: str) -> None:
    arguments = docker_runner.absolute({"data_root": root})
    assert arguments == {"data_root": root}
    assert seen(tmp_path, arguments) == {str(tmp_path): False}


def test_a_person_keeps_their_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    monkeypatch.setattr(os, "chown", lambda *_, **__: pytest.fail("their folder is theirs already"))
    assert docker_runner.user(tmp_path) == "1000:100"


def test_root_hands_the_output_to_the_images_own_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "events").touch()
    given = {}
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, *who, follow_symlinks: given.update({path: who}))
    assert docker_runner.user(tmp_path) == "65532:65532"
    everything = {tmp_path, tmp_path / "artifacts", tmp_path / "artifacts" / "events"}
    assert given == dict.fromkeys(everything, (65532, 65532))


@pytest.mark.parametrize(
    ("tags", "problem", "remedy"),
    [
        (None, "no container engine answers", "--runner subprocess"),
        (["netslim-data:1", "netslim-train:1"], "no such image", "make images"),
    ],
)
def test_an_engine_that_cannot_run_the_steps_is_found_before_the_first_one(
    monkeypatch: pytest.MonkeyPatch, tags: list[str] | None, problem: str, remedy: str
) -> None:
    class Client:
        images = SimpleNamespace(list=lambda: [SimpleNamespace(tags=[tag]) for tag in tags or []])

        def close(self) -> None: ...

    def from_env() -> Client:
        if tags is None:
            raise docker.errors.DockerException("Connection refused")
        return Client()

    monkeypatch.setattr(docker, "from_env", from_env)
    monkeypatch.setenv("NETSLIM_IMAGE_TAG", "1")
    monkeypatch.delenv("NETSLIM_REGISTRY", raising=False)
    with pytest.raises(PipelineError, match=problem) as found:
        docker_runner.check_engine()
    assert remedy in str(found.value)


def test_an_engine_with_every_image_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = [f"netslim-{kind}:1" for kind in ("data", "train", "export")]
    client = SimpleNamespace(images=SimpleNamespace(list=lambda: [SimpleNamespace(tags=tags)]), close=list)
    monkeypatch.setattr(docker, "from_env", lambda: client)
    monkeypatch.setenv("NETSLIM_IMAGE_TAG", "1")
    docker_runner.check_engine()


class Container:
    """Of the run `key`, running or, as the engine says late, already gone."""

    def __init__(self, key: str, *, gone: bool = False) -> None:
        self.label, self.gone = f"{docker_runner.RUN}={key}", gone
        self.stopped_within: list[int] = []

    def stop(self, timeout: int) -> None:
        self.stopped_within.append(timeout)
        if self.gone:
            raise docker.errors.NotFound("no such container")


def test_the_containers_of_a_run_are_stopped_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, gone, other = Container("a"), Container("a", gone=True), Container("b")

    def list_(filters: dict[str, str]) -> list[Container]:
        return [each for each in (gone, mine, other) if each.label == filters["label"]]

    client = SimpleNamespace(containers=SimpleNamespace(list=list_), close=list)
    monkeypatch.setattr(docker, "from_env", lambda: client)
    docker_runner.stop_containers("a")
    assert [each.stopped_within for each in (mine, gone, other)] == [[30], [30], []]


def test_after_the_stop_no_container_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[str] = []

    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))

    def start(image: str, command: list[str]) -> int:
        started.append(image)
        return 137

    monkeypatch.setattr(docker_task_handler, "run_docker_container", start)
    titles, stops = {"prune-2": "pass 2: prune"}, threading.Event()
    steps = StepProcesses(titles, ArtifactsFile(tmp_path / "artifacts.json", titles))
    steps.install_for_containers(stops.set)
    command = [
        "sh",
        "--executor_input",
        '{"outputs": {"outputFile": "/out/run/prune-2/executor_output.json"}}',
    ]
    assert docker_task_handler.run_docker_container(image="first", command=command) == 137
    assert "ended by SIGKILL (signal 9)" in capsys.readouterr().out
    ((step, message),) = progress.reported_errors()
    assert step == "pass 2: prune"
    assert message.startswith("step = pass 2: prune: ended by SIGKILL (signal 9). The system kills")
    steps.stop()
    assert stops.wait(10)
    assert docker_task_handler.run_docker_container(image="second", command=command) == 143
    assert started == ["first"]
