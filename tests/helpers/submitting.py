"""`netslim submit` against a backend of the tests."""

from __future__ import annotations

from click.testing import CliRunner, Result

from netslim.errors import NetslimError, PipelineError
from netslim_kfp.pipelines.cli.submit import submit
from tests.helpers.kfp_state import Cluster

SHORT = ("--passes", "1", "--no-baseline")


def run(cluster: Cluster, *options: str, **environment: str) -> Result:
    return CliRunner().invoke(
        submit, ["--host", cluster.address, "--namespace", "ann", *SHORT, *options], env=environment
    )


def refused(result: Result, kind: type[NetslimError] = PipelineError) -> str:
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)
