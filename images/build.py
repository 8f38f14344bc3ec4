"""Build the images, and run each as an unknown user, on a read-only file system, without a network.

    python images/build.py                              all five, from the pinned base image
    python images/build.py train --variant cpu          one of them, with PyTorch's CPU build
    python images/build.py --base "$(images/base.sh)" --host-wheels       where no registry can be reached

Names and tags come from components/images.py: NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG change them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import get_args

import click

from netslim import __version__
from netslim.storage.atomic import sha256
from netslim_kfp.components.images import ImageName, image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "images"
WHEELS = ROOT / "build" / "wheels"
KINDS: tuple[ImageName, ...] = get_args(ImageName)

# The digest of the index of all architectures: it always names the same image.
BASE = "python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d"


CLIENTS = (os.environ.get("DOCKER", "docker"), "/usr/bin/docker")


def engine_client() -> str:
    """A docker command with BuildKit, which the build needs for its secrets and mounts.

    Docker's own packages install BuildKit as a plug-in, which may be missing; Debian's docker contains it.
    """
    for command in CLIENTS:
        found = shutil.which(command)
        if found and "--secret" in _output(found, "build", "--help"):
            return found
    raise click.ClickException("no docker command with BuildKit was found; install docker-buildx")


def _output(*command: str) -> str:
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def run(*command: str) -> None:
    done = subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"this command failed, see its output above: {shlex.join(command)}")


@contextmanager
def host_wheels(locks: list[str]) -> Iterator[str]:
    """Download what the locks name with this machine's pip and its configuration, and serve it to the build.

    Yields the pip configuration that makes a build take everything from there.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    for lock in locks:
        requirements = IMAGES / "requirements" / lock
        have = WHEELS / f"{lock}.{sha256(requirements)}"  # hashing gigabytes again would take a minute
        if not have.exists():
            run(*pip, "--dest", str(WHEELS), "-r", str(requirements))
            have.touch()
    handler = partial(Quiet, directory=str(WHEELS))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"[global]\nno-index = true\nfind-links = http://127.0.0.1:{server.server_port}/\n"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: pip prints the files that it downloads."""


def build(kind: ImageName, client: str, *, base: str, variant: str, tag: str, pip_conf: Path) -> str:
    name = image(kind, tag=tag)
    labels = {"title": f"netslim {kind}", "version": __version__, "base.name": base}
    revision = _output("git", "-C", str(ROOT), "rev-parse", "HEAD").strip()
    labels |= {"revision": revision} if revision else {}
    command = [client, "build", str(ROOT), "--file", str(IMAGES / "Dockerfile"), "--target", kind]
    command += ["--tag", name, "--network", "host", "--progress", "plain"]
    command += ["--secret", f"id=pip,src={pip_conf}"]
    command += ["--build-arg", f"BASE={base}", "--build-arg", f"VARIANT={variant}"]
    for label, value in labels.items():
        command += ["--label", f"org.opencontainers.image.{label}={value}"]
    run(*command)
    return name


def smoke(name: str, client: str) -> None:
    """Run the image's own `netslim doctor` as an unknown user, who can write to /tmp only."""
    confined = ["--read-only", "--tmpfs", "/tmp", "--user", "123456:0", "--network", "none"]
    confined += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    run(client, "run", "--rm", *confined, name)


@click.command(help=__doc__)
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS))
@click.option("--base", default=BASE, show_default=True, help="Image with Python 3.11 and pip, by digest.")
@click.option("--variant", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--pip-conf", type=click.Path(exists=True, path_type=Path), help="pip's configuration inside.")
@click.option(
    "--host-wheels", "from_host", is_flag=True, help="Download packages here: containers reach no index."
)
def main(
    kinds: tuple[ImageName, ...], base: str, variant: str, pip_conf: Path | None, from_host: bool
) -> None:
    client, kinds = engine_client(), kinds or KINDS
    tag = os.environ.get("NETSLIM_IMAGE_TAG", __version__) + ("-cpu" if variant == "cpu" else "")
    torch = IMAGES / "requirements" / f"torch-{variant}.txt"
    if not torch.exists():
        advice = f"Run `python images/lock.py --variant {variant}` where its index can be reached"
        raise click.ClickException(f"{torch.name} does not exist. {advice}")
    with ExitStack() as stack:
        if pip_conf is None:
            pip_conf = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "pip.conf"
            text = ""
            if from_host:
                click.echo("Downloading the wheels")
                text = stack.enter_context(host_wheels(locks(kinds, variant)))
            pip_conf.write_text(text, encoding="utf-8")
        for kind in kinds:
            start = time.monotonic()
            name = build(kind, client, base=base, variant=variant, tag=tag, pip_conf=pip_conf)
            size = int(_output(client, "image", "inspect", "--format", "{{.Size}}", name))
            smoke(name, client)
            click.echo(f"{name}: {size / 1e6:,.0f} MB, {time.monotonic() - start:.0f} s")


def locks(kinds: tuple[ImageName, ...], variant: str) -> list[str]:
    """The lock files of the layers of these images."""
    chain = ["data", "train", "export"]
    last = max((chain.index(kind) + 1 for kind in kinds if kind in chain), default=0)
    found = ["build", *([f"torch-{variant}"] if last else []), *chain[:last]]
    found += [kind for kind in ("consume", "tracking") if kind in kinds]
    return [f"{name}.txt" for name in found]


if __name__ == "__main__":
    main()
