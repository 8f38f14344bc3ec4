"""The options of a connection to KFP, for every command that needs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from netslim_kfp.pipelines.cluster.kfp_client import KfpClient

__all__ = ["client_of", "connection_options", "run_link"]

CONNECTION = ("host", "namespace", "token", "token_file", "ca")
OPTIONS = [
    click.option("--host", envvar="KF_PIPELINES_ENDPOINT", required=True, help="Address of KFP's API."),
    click.option(
        "--namespace",
        envvar="KF_PIPELINES_NAMESPACE",
        default="",
        help="Your namespace, where KFP serves several users.",
    ),
    click.option(
        "--token",
        envvar="KF_PIPELINES_TOKEN",
        default="",
        help="Bearer token; other users of this machine can see a flag, but not the environment.",
    ),
    click.option(
        "--token-file",
        envvar="KF_PIPELINES_SA_TOKEN_PATH",
        default="",
        help="File with the token, read again for each request.",
    ),
    click.option("--ca", envvar="KF_PIPELINES_CA", default="", help="File of certificates to trust."),
]


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a click command with the options of a connection; `client_of` takes their values."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def client_of(options: dict[str, Any]) -> KfpClient:
    """The connection of a command's keyword arguments, which are removed from `options`.

    Raises:
        ConfigError: a value is wrong; see KfpClient.
    """
    from netslim_kfp.pipelines.cluster.kfp_client import KfpClient

    return KfpClient(**{name: options.pop(name) for name in CONNECTION})


def run_link(client: KfpClient, ui: str | None, run_id: str) -> str:
    """The address of a run on KFP's page; `ui` is the page's address where it is not that of the API."""
    return f"{(ui or client.host).rstrip('/')}/#/runs/details/{run_id}"
