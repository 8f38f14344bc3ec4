"""`netslim doctor`: check packages, runners and servers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click

from netslim.cli.torch_checks import gpus, outside_bounds, required_torch
from netslim.errors import ConfigError, NetslimError

__all__ = ["doctor"]

PACKAGES = {
    "numpy": "core",
    "safetensors": "core",
    "torch": "torch",
    "torchvision": "torch",
    "scikit-learn": "torch",
    "kfp": "pipeline",
    "kfp-kubernetes": "pipeline",
    "mlflow": "tracking",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "jinja2": "report",
    "matplotlib": "report",
    "boto3": "s3",
    "docker": "docker",
}

IMAGES: dict[str, set[str]] = {
    "data": {"core", "torch", "pipeline", "s3"},
    "train": {"core", "torch", "pipeline", "s3", "tracking"},
    "export": {"core", "torch", "pipeline", "s3", "tracking", "export", "report"},
}
"""The extras in the image of each kind of step. NETSLIM_IMAGE is the kind of the image that runs."""

CONSUMER = ("numpy", "safetensors", "onnx", "onnxruntime", "pillow")
"""The packages in the image for users of an exported model; torch is not among them."""

SERVER = ("mlflow", "psycopg2-binary", "boto3")
"""The packages in the image of the tracking server."""


class CheckResult(NamedTuple):
    """The result of one check; `passed` is None for an optional part that is not there."""

    passed: bool | None
    name: str
    detail: str


@click.command(short_help="Check packages, runners and servers.")
@click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="Also check that this MLflow server can be used."
)
@click.option("--data-root", help="Also check that this folder or s3:// prefix can be read.")
@click.option("--host", help="Also check the Kubeflow Pipelines backend at this address, and its namespace.")
@click.option("--namespace", default="", help="With --host: the namespace.  [default: KFP's]")
@click.option("--profiles", help="With --host: the file of resource profiles that `netslim submit` gets.")
@click.option("--service-account", default="", help="With --host: that of the steps' pods.  [default: KFP's]")
@click.option(
    "--start-images",
    is_flag=True,
    help="With --host: start a pod of each image, with the resources of its largest step, and delete it.",
)
@click.option("--gpus", type=click.IntRange(min=0), help="With --start-images: GPUs of the pod of `train`.")
@click.option(
    "--start-timeout",
    type=click.IntRange(min=1),
    default=180,
    show_default=True,
    help="With --start-images: seconds to wait for the pods; the first pull of an image takes minutes.",
)
def doctor(
    tracking_uri: str | None, data_root: str | None, host: str | None, namespace: str, **backend_options: Any
) -> None:
    """Check which packages are installed, which runners work, and whether server and data can be reached.

    Nothing is started on a cluster unless --start-images is given, because its pods take GPUs and memory
    from others and can make a cluster add nodes. They are created as kubectl's current user, who needs the
    right to list, create and delete pods, and they are deleted when the check ends or is interrupted.

    The exit code is 1 when a required package is missing, or when a check that an option asks for fails.
    """
    if backend_options["start_images"] and not host:
        raise ConfigError("there is no cluster to start them on", field="start_images", remedy="Add --host")
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    failed: list[str] = []
    results = run_checks(tracking_uri, data_root)
    if host:
        results = chain(results, backend(host, namespace, **backend_options))
    for result in results:
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "[dim]--[/]"}[result.passed]
        console.print(f" {mark}  {result.name:<16} {escape(result.detail)}", highlight=False, soft_wrap=True)
        if result.passed is False:
            failed.append(result.name)
    if failed:
        console.print(f"\n[bold red]Not usable: {', '.join(failed)}[/]", highlight=False, soft_wrap=True)
        sys.exit(1)


def run_checks(tracking_uri: str | None, data_root: str | None) -> Iterator[CheckResult]:
    """Run the checks for this image, or for an environment outside of the images, one after the other."""
    supported = sys.version_info >= (3, 11)
    yield CheckResult(
        supported, "python", f"{platform.python_version()}{'' if supported else ', but 3.11 is needed'}"
    )
    kind = os.environ.get("NETSLIM_IMAGE", "")
    if kind in ("consume", "tracking"):
        yield from (required(name) for name in (CONSUMER if kind == "consume" else SERVER))
    elif kind:
        yield from (required(name) for name, extra in PACKAGES.items() if extra in IMAGES[kind])
        yield from (CheckResult(*check) for check in gpus())
    else:
        yield from packages()
        yield from (CheckResult(*check) for check in gpus())
        yield kfp_runner()
        yield docker_runner()
    if tracking_uri:
        yield reachable("tracking server", tracking_uri, check_tracking)
    if data_root:
        yield reachable("data root", data_root, check_root)


def backend(host: str, namespace: str, **options: Any) -> Iterator[CheckResult]:
    """Checks of a Kubeflow Pipelines backend, from the package that uses it and that takes the options.

    They come by an entry point, because this package does not import those that are built on it.
    """
    points = importlib.metadata.entry_points(group="netslim.checks", name="backend")
    try:
        (check,) = [point.load() for point in points]
    except (ModuleNotFoundError, ValueError):
        yield CheckResult(False, "KFP", "pip install 'netslim[pipeline]'")
        return
    yield from (CheckResult(*result) for result in check(host, namespace, **options))


def required(name: str) -> CheckResult:
    """Check a package that the image must contain."""
    try:
        return found(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return CheckResult(False, name, "missing: build the image again")


def found(name: str, version: str) -> CheckResult:
    """Check the version of a package that is there."""
    bounds = required_torch() if name == "torch" else ""
    if outside_bounds(version, bounds):
        return CheckResult(
            False, name, f"{version}, but netslim is made for torch {bounds}: pip install 'netslim[torch]'"
        )
    return CheckResult(True, name, version)


def packages() -> Iterator[CheckResult]:
    for name, extra in PACKAGES.items():
        try:
            yield found(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            missing = "missing: reinstall netslim" if extra == "core" else f"pip install 'netslim[{extra}]'"
            yield CheckResult((False if extra == "core" else None), name, missing)


def kfp_runner() -> CheckResult:
    try:
        version = importlib.metadata.version("kfp")
    except importlib.metadata.PackageNotFoundError:
        return CheckResult(None, "runner process", "pip install 'netslim[pipeline]'")
    if importlib.util.find_spec("torch") is None:
        return CheckResult(None, "runner process", "pip install 'netslim[torch]'")
    good = version.startswith("2.17.")
    wrong = f"kfp {version} is not the tested 2.17: pip install 'netslim[pipeline]'"
    return CheckResult(good, "runner process", "ready" if good else wrong)


def docker_runner() -> CheckResult:
    if not shutil.which("docker"):
        return CheckResult(None, "runner docker", "no container engine is installed")
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return CheckResult(
            None, "runner docker", "the engine does not answer: restart it, or set DOCKER_HOST"
        )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["no answer"]
        return CheckResult(None, "runner docker", f"the engine does not answer: {lines[-1]}")
    return CheckResult(True, "runner docker", f"ready, engine {answer.stdout.strip()}")


def reachable(name: str, address: str, check: Callable[[str], None]) -> CheckResult:
    try:
        check(address)
    except NetslimError as error:
        return CheckResult(False, name, str(error))
    from netslim.tracking.destination import without_password

    return CheckResult(True, name, f"{without_password(address)} can be used")


def check_tracking(uri: str) -> None:
    from netslim import tracking

    tracking.check_tracking_server(uri)


def check_root(root: str) -> None:
    from netslim.errors import DataError

    if root.startswith("s3://"):
        from netslim.storage import s3

        s3.exists(root)  # raises when the bucket cannot be read; the answer does not matter
    elif not Path(root).is_dir():
        raise DataError(
            "no such folder", field="data_root", value=root, remedy="Create it, or correct the path"
        )
