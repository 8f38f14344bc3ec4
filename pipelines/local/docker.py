"""How a step's container runs on this machine: as whom, what it sees of the disk, and what it may do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netslim.errors import PipelineError
from netslim.tracking.destination import sqlite_file
from netslim_kfp.components.images import Kind, image

if TYPE_CHECKING:
    from docker.types import Mount

__all__ = ["IMAGE_USER", "absolute", "docker_runner", "environment", "mounts", "preflight", "user"]

IMAGE_USER = 65532
"""The user of our images, who has no name and owns nothing."""

STEPS: tuple[Kind, ...] = ("data", "train", "export")
HANDED_OVER = ("AWS_", "MLFLOW_", "NETSLIM_", "OMP_")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def docker_runner(wanted: Mapping[str, Any]) -> Any:
    """KFP's Docker runner for the run that netslim_kfp.pipelines.local.run describes.

    Containers get what a strict cluster would give them: no root, no capabilities, a read-only file system.
    They share the host's network, because the tracking server may be a process of this host.
    """
    from kfp import local

    output = Path(wanted["root"]).parent
    given = environment(os.environ, wanted["environment"])
    return local.DockerRunner(
        user=user(output),
        environment=given,
        mounts=list(mounts(output, wanted["arguments"], given)),
        network_mode="host",
        shm_size="2g",
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        device_requests=gpus(),
    )


def environment(host: Mapping[str, str], run: Mapping[str, str]) -> dict[str, str]:
    """What the steps need of the host's environment, of which a container sees nothing by itself."""
    kept = {n: v for n, v in host.items() if n.startswith(HANDED_OVER) or n.upper() in PROXIES}
    return {**kept, **run, "HOME": "/tmp"}


def user(output: Path) -> str:
    """Whom the containers run as: whoever runs this, so that the artifacts are theirs; but never root.

    When root runs this, the output folder is handed over to the images' own user.
    """
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    for path in (output, *output.rglob("*")):
        os.chown(path, IMAGE_USER, IMAGE_USER, follow_symlinks=False)
    return f"{IMAGE_USER}:{IMAGE_USER}"


def mounts(output: Path, arguments: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[Mount]:
    """What containers see of this machine's disk, by the same paths; KFP itself shows just the artifacts."""
    from docker.types import Mount

    yield Mount(str(output), str(output), type="bind")  # MLflow's database and files lie here by default
    database = sqlite_file(given.get("MLFLOW_TRACKING_URI", ""))
    if database and not database.is_relative_to(output):
        yield Mount(str(database.parent), str(database.parent), type="bind")
    root = arguments.get("data_root", "")
    if root and "://" not in root:
        yield Mount(root, root, type="bind", read_only=not arguments.get("download"))


def absolute(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments as a container understands them, whose working folder is another."""
    root = arguments.get("data_root", "")
    local = {"data_root": str(Path(root).absolute())} if root and "://" not in root else {}
    return {**arguments, **local}


def preflight() -> None:
    """Check that a container engine answers, and that it has the images unless a registry does.

    Raises:
        PipelineError: it does not.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ModuleNotFoundError as error:
        remedy = "pip install 'netslim[docker]'"
        raise PipelineError(
            "needs the package docker", field="runner", value="docker", remedy=remedy
        ) from error
    try:
        with closing(docker.from_env()) as client:
            there = {tag for found in client.images.list() for tag in found.tags}
    except DockerException as error:
        remedy = "Start Docker, or take --runner subprocess"
        raise PipelineError(
            "no container engine answers", field="runner", value="docker", remedy=remedy
        ) from error
    for kind in STEPS:
        if image(kind) not in there and not os.environ.get("NETSLIM_REGISTRY"):
            problem = "the container engine has no such image"
            raise PipelineError(problem, field="image", value=image(kind), remedy="Run `make images`")


def gpus() -> list[Any] | None:
    """All GPUs, where the engine can hand them to a container."""
    import docker
    from docker.types import DeviceRequest

    with closing(docker.from_env()) as client:
        can = "nvidia" in client.info().get("Runtimes", {})
    return [DeviceRequest(count=-1, capabilities=[["gpu"]])] if can else None
