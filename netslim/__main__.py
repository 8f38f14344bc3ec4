"""`netslim` and `python -m netslim`: the command line.

Commands come from the entry point group `netslim.commands`. So this package does not import the pipelines
that are built on it, and an image with the method alone has its own commands.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import click

from netslim import __version__
from netslim.child_process import exit_quickly
from netslim.errors import NetslimError

__all__ = ["main"]

EPILOG = """
\b
About two minutes on a laptop:
  netslim run                                   slim a small VGG on handwritten digits
\b
Your own network and images:
  netslim run --model resnet18 --dataset folder --data-root photos/ --passes 2
  netslim run --config run.yaml --percent 0.7   a file of options; the command line wins over it
\b
Afterwards:
  netslim show                                  print the table of the last run again, from MLflow

Exit codes: 0 done, 1 failed, 2 wrong option, 3 dataset, 4 model, 5 training, 6 tracking server,
7 ONNX export, 8 storage, 9 a pipeline step or a cluster operation, 10 a bundle.
"""


class Commands(click.Group):
    """Commands of the entry point group, each loaded only when it is called."""

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group="netslim.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        order = [
            "run",
            "show",
            "sensitivity",
            "sync",
            "verify",
            "bench",
            "sign",
            "publish",
            "sweep",
            "submit",
            "logs",
            "compile",
            "doctor",
        ]
        return sorted(
            self._entry_points(), key=lambda name: (order.index(name) if name in order else 99, name)
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self._entry_points().get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in ("netslim", "netslim_kfp"):
                raise
            return missing(cmd_name, error.name or "")
        assert isinstance(command, click.Command)
        return command


def missing(command: str, package: str) -> click.Command:
    """A command in place of one whose packages are not installed. It ends with the extra to install."""
    extra = {
        "kfp": "pipeline",
        "pydantic": "pipeline",
        "mlflow": "tracking",
        "onnxruntime": "verify",
        "torch": "torch",
    }.get(package.split(".")[0], "all")
    advice = f"needs {package}: pip install 'netslim[{extra}]'"

    @click.command(command, help=f"({advice})", context_settings={"ignore_unknown_options": True})
    @click.argument("ignored", nargs=-1)
    def stand_in(ignored: tuple[str, ...]) -> None:
        raise NetslimError(advice, field=f"netslim {command}")

    return stand_in


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netslim")
def cli() -> None:
    """A wide CNN goes in, a slim ONNX model comes out, with the evidence to trust it.

    Network slimming (Liu et al., ICCV 2017): train with L1 on the BatchNorm scaling factors, prune the
    channels whose scaling factors rank lowest in the whole network, fine-tune, repeat.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    exit_quickly()
    try:
        cli.main(standalone_mode=False)
    except NetslimError as error:
        click.secho(f"netslim: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("netslim: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
