"""Commands that read the output folder of `netslim run` look for it where that command writes it."""

from __future__ import annotations

import click
import pytest

from netslim.cli.show import show
from netslim.cli.sync import sync
from netslim_kfp.pipelines.run_config import RunConfig


@pytest.mark.parametrize("command", [show, sync], ids=lambda command: command.name)
def test_the_default_is_the_folder_of_run(command: click.Command) -> None:
    (option,) = (parameter for parameter in command.params if parameter.name == "output")
    assert option.get_default(click.Context(command)) == RunConfig.model_fields["output"].default
