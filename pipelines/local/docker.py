"""How a step's container runs on this machine: its user, its view of the disk, and its rights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netslim.child_process import GRACE
from netslim.errors import PipelineError
from netslim.tracking.destination import KEY, sqlite_file
from netslim_kfp.components.images import ImageName, image

if TYPE_CHECKING:
    from docker.types import Mount

__all__ = [
    "IMAGE_USER",
    "absolute",
    "check_engine",
    "docker_runner",
    "environment",
    "mounts",
    "stop_containers",
    "user",
]

RUN = "io.netslim.run"
"""Label of a run's containers; the value is the key of the run."""

IMAGE_USER = 65532
"""The user id of our images. It has no name and owns no files."""

STEPS: tuple[ImageName, ...] = ("data", "train", "export")
PASSED_ON = ("AWS_", "MLFLOW_", "NETSLIM_", "OMP_")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def docker_runner(wanted: Mapping[str, Any]) -> Any:
    """KFP's Docker runner for a run of netslim_kfp.pipelines.local.run.

    Containers get what a strict cluster gives them: no root, no capabilities, a read-only file system. They
    share the host's network, because the tracking server may be a process of this host.

    Args:
        wanted: the request that `run_local` writes.
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
        labels={RUN: wanted["environment"][KEY]},
    )


def stop_containers(key: str) -> None:
    """Stop the containers of the run `key`: SIGTERM now, SIGKILL after `GRACE` seconds.

    The engine's containers end neither with KFP nor with this process.
    """
    import docker

    with closing(docker.from_env()) as client:
        for container in client.containers.list(filters={"label": f"{RUN}={key}"}):
            with suppress(docker.errors.APIError):  # it has ended by itself
                container.stop(timeout=int(GRACE))


def environment(host: Mapping[str, str], run: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of a step's container.

    Args:
        host: the host's variables; those for S3, MLflow, netslim, threads and proxies are passed on.
        run: the run's own variables, which win.
    """
    kept = {n: v for n, v in host.items() if n.startswith(PASSED_ON) or n.upper() in PROXIES}
    return {**kept, **run, "HOME": "/tmp"}


def user(output: Path) -> str:
    """The user and group of the containers: the caller's, so that the caller owns the artifacts; never root.

    When root calls this, the images' own user becomes the owner of everything in `output`.
    """
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    for path in (output, *output.rglob("*")):
        os.chown(path, IMAGE_USER, IMAGE_USER, follow_symlinks=False)
    return f"{IMAGE_USER}:{IMAGE_USER}"


def mounts(output: Path, arguments: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[Mount]:
    """The folders of this machine that containers see, under the same paths; KFP adds only the artifacts."""
    from docker.types import Mount

    yield Mount(str(output), str(output), type="bind")  # MLflow's database and files lie here by default
    database = sqlite_file(given.get("MLFLOW_TRACKING_URI", ""))
    if database and not database.is_relative_to(output):
        yield Mount(str(database.parent), str(database.parent), type="bind")
    root = arguments.get("data_root", "")
    if root and "://" not in root:
        yield Mount(root, root, type="bind", read_only=not arguments.get("download"))


def absolute(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments` with an absolute data root, because a container has another working folder."""
    root = arguments.get("data_root", "")
    local = {"data_root": str(Path(root).absolute())} if root and "://" not in root else {}
    return {**arguments, **local}


def check_engine() -> None:
    """Check that a container engine answers, and that it has the images where no registry is set.

    Raises:
        PipelineError: there is no engine, or an image is missing.
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
            tags = {tag for each in client.images.list() for tag in each.tags}
    except DockerException as error:
        remedy = "Start Docker, or take --runner subprocess"
        raise PipelineError(
            "no container engine answers", field="runner", value="docker", remedy=remedy
        ) from error
    for kind in STEPS:
        if image(kind) not in tags and not os.environ.get("NETSLIM_REGISTRY"):
            problem = "the container engine has no such image"
            raise PipelineError(problem, field="image", value=image(kind), remedy="Run `make images`")


def gpus() -> list[Any] | None:
    """A request for all GPUs, where the engine can give them to a container."""
    import docker
    from docker.types import DeviceRequest

    with closing(docker.from_env()) as client:
        available = "nvidia" in client.info().get("Runtimes", {})
    return [DeviceRequest(count=-1, capabilities=[["gpu"]])] if available else None
