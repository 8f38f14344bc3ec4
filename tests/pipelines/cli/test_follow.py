"""`submit --wait`, `--resubmit` and `--json` over HTTP, with the answers of a real backend."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from netslim import report, tracking
from netslim.errors import ConfigError, PipelineError
from netslim.results.run_results import RunResults
from netslim_kfp.components.argo.workflow import steps_of
from netslim_kfp.pipelines.cli.submit import submit
from tests.helpers.followed_runs import SHORT, ends_like, pod_of, run
from tests.helpers.kfp_samples import at, sample
from tests.helpers.kfp_state import Cluster
from tests.helpers.results import pass_result

MISTAKE = (
    "netslim: s3://data/missing: nothing to download there. Check the bucket and the folder.\n"
    "F1127 22:25:08.912345      15 main.go:54] failed to execute component: exit status 8\n"
)


def steps_in(output: str) -> list[str]:
    """The lines about steps, without the clock and with single spaces."""
    return [
        " ".join(line.split()[1:]) for line in output.splitlines() if re.match(r" +\d+:\d\d   \S+ .", line)
    ]


def test_each_step_has_a_line_when_it_starts_and_when_it_ends(cluster: Cluster) -> None:
    workflow = sample("out-of-memory")["workflow"]
    cluster.states = ["PENDING", "RUNNING", "RUNNING", "RUNNING", "FAILED"]
    seen = [at(workflow, moment) for moment in ("21:29:40Z", "21:30:08Z", "21:30:30Z", "21:30:40Z")]
    cluster.workflows = [*seen, workflow]
    cluster.logs = {
        pod_of("out-of-memory", "prepare-data"): "1000 images\n",
    }
    result = run(cluster)
    assert steps_in(result.output) == [
        "prepare data started",
        "prepare data done in 8 s: 1000 images",
        "pass 1: train sparse started",
        "pass 1: train sparse failed: main: OOMKilled (exit code 1)",
        "finish started",
        "finish done in 14 s",
    ]


def test_a_step_that_ended_shows_what_it_did(cluster: Cluster) -> None:
    workflow = sample("succeeded-two-passes")["workflow"]
    cluster.states, cluster.workflows = ["SUCCEEDED"], [workflow]
    did = "netslim: evaluation of pass 1 done in 8.1 s: test error 2.13 %, 120 channels\n"
    cluster.logs = {
        pod_of("succeeded-two-passes", "fine-tune"): "netslim: fine-tuning of pass 1 done in 4.2 s\n",
        pod_of("succeeded-two-passes", "evaluate"): did + "I1127 21:31:01.000000 launcher_v2.go:1] done\n",
    }
    lines = steps_in(run(cluster).output)
    assert [line for line in lines if line.startswith("pass 1: evaluate done")] == [
        "pass 1: evaluate done in 14 s: test error 2.13 %, 120 channels"
    ]
    assert [line for line in lines if line.startswith("pass 1: fine-tune done")] == [
        "pass 1: fine-tune done in 13 s"
    ]


def test_cached_steps_say_so(cluster: Cluster) -> None:
    cluster.states, cluster.workflows = ["SUCCEEDED"], [sample("succeeded-two-passes")["workflow"]]
    result = run(cluster)
    assert result.exit_code == 0, result.exception
    assert "prepare data from the cache" in steps_in(result.output)
    assert f"Table     netslim show {cluster.runs[0].run_id}" in result.output


def test_after_a_minute_without_a_pod_the_reason_is_printed_once(cluster: Cluster) -> None:
    workflow = at(sample("unschedulable")["workflow"], "22:25:40Z")
    reason = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
    for node in workflow["status"]["nodes"].values():
        if node["name"].endswith("train-sparse(0).executor(0)"):
            node |= {"phase": "Pending", "message": reason}
    cluster.workflows, cluster.states = [workflow], ["RUNNING"] * 20 + ["FAILED"]
    output = run(cluster).output
    (line,) = [line for line in steps_in(output) if "waits" in line]
    assert line == f"pass 1: train sparse waits for its pod: {reason}"
    pod = next(step.pod for step in steps_of(workflow) if step.state == "waiting")
    assert f"kubectl describe pod {pod} --namespace ann" in output


@pytest.mark.parametrize(
    ("name", "task", "log", "said"),
    [
        (
            "out-of-memory",
            "train-sparse",
            "epoch 1\n",
            "failed, out of memory (main: OOMKilled (exit code 1))",
        ),
        ("timed-out", "train-sparse", "epoch 1\n", "failed, time-out (Pod was active on the node longer"),
        ("user-mistake", "prepare-data", MISTAKE, "failed, exit code 8 (s3://data/missing: nothing to"),
    ],
)
def test_a_failed_run_names_step_cause_and_log(
    cluster: Cluster, name: str, task: str, log: str, said: str
) -> None:
    ends_like(cluster, name)
    cluster.logs[pod_of(name, task)] = log
    result = run(cluster)
    title = {"train-sparse": "pass 1: train sparse", "prepare-data": "prepare data"}[task]
    assert isinstance(result.exception, PipelineError)
    assert str(result.exception).startswith(f"{title}: {said}")
    assert f"  | {log.splitlines()[0]}\n" in result.output
    assert f'netslim logs {cluster.runs[0].run_id} "{title}"' in result.output


def test_a_canceled_run_is_not_called_failed(cluster: Cluster) -> None:
    ends_like(cluster, "canceled")
    result = run(cluster, "--resubmit", "2")
    assert "the run was canceled" in str(result.exception)
    assert re.search(r"\d:\d\d   canceled\n", result.output)
    assert len(cluster.runs) == 1


def test_a_run_that_kfp_retried_after_a_cancel_has_its_own_end(cluster: Cluster) -> None:
    ends_like(cluster, "out-of-memory")
    cluster.history = ["RUNNING", "CANCELING", "FAILED", "RUNNING"]
    assert "out of memory" in str(run(cluster).exception)


def test_a_failed_run_is_submitted_again_as_the_same_run_in_mlflow(cluster: Cluster) -> None:
    ends_like(cluster, "timed-out")
    cluster.states = ["RUNNING", "FAILED", "RUNNING", "FAILED", "SUCCEEDED"]
    cluster.workflows = [sample("timed-out")["workflow"]] * 4 + [sample("succeeded-two-passes")["workflow"]]
    result = run(cluster, "--resubmit", "5")
    assert result.exit_code == 0, result.exception
    first, second, third = cluster.runs
    assert (second.display_name, third.display_name) == (f"{first.display_name}-2", f"{first.display_name}-3")
    versions = {v.pipeline_version_id: v.pipeline_spec["pipeline_spec"] for v in cluster.versions}
    keys = [keys_of(versions[each.pipeline_version_reference.pipeline_version_id]) for each in cluster.runs]
    assert keys == [set(), {first.run_id}, {first.run_id}]
    assert "Submitting it again, 2 of 5." in result.output
    assert f"netslim show {first.run_id}" in result.output


def keys_of(ir: dict[str, Any]) -> set[str]:
    """The keys in MLflow that the steps of a compiled pipeline are given; KFP's id is one of every pod."""
    variables = [
        variable
        for executor in ir["deploymentSpec"]["executors"].values()
        for variable in executor["container"].get("env", [])
    ]
    return {variable["value"] for variable in variables if variable["name"] == "NETSLIM_RUN_KEY"}


def test_a_users_mistake_is_not_submitted_again(cluster: Cluster) -> None:
    ends_like(cluster, "user-mistake")
    cluster.logs[pod_of("user-mistake", "prepare-data")] = MISTAKE
    assert isinstance(run(cluster, "--resubmit", "3").exception, PipelineError)
    assert len(cluster.runs) == 1


def test_json_is_one_object_on_stdout(cluster: Cluster) -> None:
    ends_like(cluster, "out-of-memory")
    cluster.logs[pod_of("out-of-memory", "train-sparse")] = "epoch 1\n"
    result = run(cluster, "--json")
    found = json.loads(result.stdout)
    assert (found["run"], found["state"]) == (cluster.runs[0].run_id, "failed")
    assert found["failure"] == {
        "step": "pass 1: train sparse",
        "cause": "out of memory",
        "message": "main: OOMKilled (exit code 1)",
        "exit_code": None,
        "log": ["epoch 1"],
    }
    assert {step["step"]: step["state"] for step in found["steps"]}["prepare data"] == "succeeded"
    assert "pass 1: train sparse" in result.stderr


def test_the_table_is_that_of_netslim_run(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    results = RunResults((pass_result(0, test=1.5), pass_result(1, test=2.25)))
    read: list[tuple[str, ...]] = []

    def read_run(*given: str) -> Any:
        read.append(given)
        return SimpleNamespace(results=results, view="http://mlflow/#/1")

    monkeypatch.setattr(tracking, "read_run", read_run)
    cluster.states, cluster.workflows = ["SUCCEEDED"], [sample("succeeded-two-passes")["workflow"]]
    result = run(cluster, "--tracking-uri", "http://mlflow", "--json")
    assert read == [("http://mlflow", "", cluster.runs[0].run_id)]
    console = Console()
    with console.capture() as captured:
        console.print(report.table(results, width=console.width))
    assert captured.get().strip() in result.stderr
    assert "MLflow    http://mlflow/#/1" in result.stderr
    assert [each["index"] for each in json.loads(result.stdout)["passes"]] == [0, 1]


def test_a_tracking_server_that_cannot_be_read_does_not_hide_the_end(cluster: Cluster) -> None:
    ends_like(cluster, "out-of-memory")
    result = run(cluster, "--tracking-uri", "mlruns")
    assert "Table     not read: MLFLOW_TRACKING_URI = mlruns: MLflow cannot keep runs there" in result.output
    assert "out of memory" in str(result.exception)


@pytest.mark.parametrize("option", ["--resubmit", "--cancel"])
def test_options_of_a_wait_need_one(cluster: Cluster, option: str) -> None:
    value = ["1"] if option == "--resubmit" else []
    result = CliRunner().invoke(submit, ["--host", cluster.address, *SHORT, option, *value])
    assert isinstance(result.exception, ConfigError)
    assert "Add --wait" in str(result.exception)
    assert cluster.runs == []
