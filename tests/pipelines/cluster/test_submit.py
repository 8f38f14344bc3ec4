"""Submitting over HTTP to a backend of KFP's own definitions: what is there afterwards, what a user reads."""

from __future__ import annotations

import re
from typing import Any

import kfp_server_api as kfp
import pytest
from click.testing import CliRunner, Result

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli import submit as command
from netslim_kfp.pipelines.cli.submit import submit
from tests.helpers.kfp_state import Cluster
from tests.helpers.submitting import refused, run


def test_a_run_has_the_users_values_and_the_compiled_pipeline(cluster: Cluster) -> None:
    result = run(
        cluster, "--dataset", "cifar10", "--percent", "0.7", "--sparse", "epochs=20", "--gpus", "2",
        "--data-root", "s3://bucket/cifar10", "--service-account", "netslim", "--experiment", "trials"
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    (started,), (version,), (experiment,) = cluster.runs, cluster.versions, cluster.experiments
    values = started.runtime_config.parameters
    assert (values["model"], values["dataset"], values["percent"]) == ("vgg19", "cifar10", "0.7")
    assert values["sparse"] == {"epochs": 20}
    assert values["passes"] == 1
    assert set(values) == set(
        version.pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    )
    assert (experiment.display_name, experiment.namespace) == ("trials", "ann")
    assert (started.service_account, started.experiment_id) == ("netslim", experiment.experiment_id)
    settings = version.pipeline_spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ]
    assert settings["exec-train-sparse"]["podMetadata"]["labels"]["netslim/gpus"] == "2"
    assert f"Run       {cluster.address}/#/runs/details/{started.run_id}" in result.output


def test_the_same_content_is_one_version_and_another_content_another(cluster: Cluster) -> None:
    outputs = [run(cluster, *more).output for more in ((), ("--seed", "3"), ("--gpus", "4"), ("--no-cache",))]
    assert [("uploaded" in output, "already there" in output) for output in outputs] == [
        (True, False),
        (False, True),
        (True, False),
        (True, False),
    ]
    assert (len(cluster.pipelines), len(cluster.versions), len(cluster.runs)) == (1, 3, 4)
    assert all(re.fullmatch(r"network-slimming-[0-9a-f]{12}", v.name) for v in cluster.versions)
    assert len({started.display_name for started in cluster.runs}) == 4


def test_without_cache_no_task_takes_an_earlier_result(cluster: Cluster) -> None:
    run(cluster)
    run(cluster, "--no-cache")
    texts = [str(version.pipeline_spec) for version in cluster.versions]
    assert ["'enableCache': True" in text for text in texts] == [True, False]


def sweep(cluster: Cluster, *options: str) -> Result:
    return CliRunner().invoke(submit, ["--host", cluster.address, "--namespace", "ann", "--sweep", *options])


@pytest.mark.parametrize(
    ("options", "name", "points", "limit"),
    [
        (
            ("percent", "--percents", "0.1, dead", "--parallel", "2"),
            "percent-study",
            {"percents": ["0.1", "dead"]},
            {"parallelismLimit": 2},
        ),
        (
            ("lambda", "--lambdas", "1e-3,1e-4", "--parallel", "0"),
            "lambda-search",
            {"strengths": ["lambda=0.001", "lambda=0.0001"], "validation": 200},
            None,
        ),
    ],
)
def test_a_sweep_runs_its_points_in_parallel_up_to_a_limit(
    cluster: Cluster, options: tuple[str, ...], name: str, points: dict[str, Any], limit: Any
) -> None:
    result = sweep(cluster, *options)
    assert result.exit_code == 0, result.exception
    (started,), (version,) = cluster.runs, cluster.versions
    assert cluster.pipelines[0].display_name == name
    assert points.items() <= started.runtime_config.parameters.items()
    tasks = [
        task
        for component in version.pipeline_spec["pipeline_spec"]["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
    ]
    (loop,) = [task for task in tasks if "parameterIterator" in task]
    assert loop.get("iteratorPolicy") == limit


def test_a_sweep_refuses_what_it_would_ignore(cluster: Cluster) -> None:
    message = refused(sweep(cluster, "percent", "--passes", "2"), ConfigError)
    assert "does not apply to `netslim submit --sweep percent`" in message
    assert cluster.runs == []


def test_kfps_own_mlflow_plugin_is_left_out_on_request(cluster: Cluster) -> None:
    run(cluster)
    run(cluster, "--no-kfp-mlflow")
    assert [body.get("plugins_input") for body in cluster.bodies] == [None, {"mlflow": {"disabled": True}}]


def test_a_run_that_is_long_in_starting_gets_time_and_the_likely_reason(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []
    create = kfp.RunServiceApi.run_service_create_run

    def patient(self: Any, body: Any, **options: Any) -> Any:
        timeouts.append(options["_request_timeout"])
        return create(self, body, **options)

    monkeypatch.setattr(kfp.RunServiceApi, "run_service_create_run", patient)
    assert "--no-kfp-mlflow" not in run(cluster).output
    monkeypatch.setattr(command, "SLOW", -1.0)
    assert "--no-kfp-mlflow leaves it out" in run(cluster).output
    assert timeouts == [150.0] * 2


def test_a_schedule_runs_the_version_again_and_again(cluster: Cluster) -> None:
    result = run(cluster, "--cron", "0 3 * * 1")
    (schedule,) = cluster.schedules
    assert schedule.trigger.cron_schedule.cron == "0 0 3 * * 1"
    assert (schedule.mode, schedule.no_catchup, schedule.max_concurrency) == ("ENABLE", True, "1")
    assert schedule.runtime_config.parameters["dataset"] == "digits"
    assert f"/#/recurringrun/details/{schedule.recurring_run_id}" in result.output
    assert cluster.runs == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cron", "every monday"), "cron = every monday: not a schedule"),
        (("--cron", "0 3 * * 1", "--wait"), "wait: a schedule does not end"),
        (("--cancel",), "cancel: there is nothing to interrupt. Add --wait"),
        (
            ("--host", "kubeflow.example"),
            "host = kubeflow.example: not an address. Write http:// or https://",
        ),
        (("--token", "a", "--token-file", "b"), "token_file = b: a token is given as well"),
        (("--token-file", "/nowhere/token"), "token_file = /nowhere/token: cannot be read"),
        (("--passes", "9"), "passes = 9: must be at most 6"),
        (("--profiles", "/nowhere.yaml"), "profiles = /nowhere.yaml: cannot be read"),
        (("--dataset", "cifar11"), "dataset = cifar11: unknown dataset"),
        (("--sparse", "epoch=3"), "epoch"),
    ],
)
def test_a_users_mistake_never_starts_a_run(cluster: Cluster, options: tuple[str, ...], said: str) -> None:
    assert said in refused(run(cluster, *options), ConfigError)
    assert (cluster.runs, cluster.schedules) == ([], [])


def test_a_network_that_only_the_steps_can_import_is_submitted(cluster: Cluster) -> None:
    assert run(cluster, "--model", "our_company.networks:small").exit_code == 0
    assert cluster.runs[0].runtime_config.parameters["model"] == "our_company.networks:small"
