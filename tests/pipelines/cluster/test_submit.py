"""Submitting over HTTP to a backend of KFP's own definitions: what it holds afterwards, what a user reads."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp_server_api as kfp
import pytest
from click.testing import CliRunner, Result

from netslim.errors import ConfigError, NetslimError, PipelineError
from netslim_kfp.pipelines.cli import submit as command
from netslim_kfp.pipelines.cli.submit import submit
from netslim_kfp.pipelines.cluster import watch as watching
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
from netslim_kfp.pipelines.cluster.run_reader import RunReader
from tests.helpers.compiled import remember_compiled
from tests.helpers.kfp_server import Cluster, Fault, serving

SHORT = ("--passes", "1", "--no-baseline")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    remember_compiled(monkeypatch)
    for name in ("ENDPOINT", "NAMESPACE", "TOKEN", "SA_TOKEN_PATH", "CA", "UI_ENDPOINT"):
        monkeypatch.delenv(f"KF_PIPELINES_{name}", raising=False)
    with serving(Cluster()) as served:
        yield served


def run(cluster: Cluster, *options: str, **environment: str) -> Result:
    return CliRunner().invoke(
        submit, ["--host", cluster.address, "--namespace", "ann", *SHORT, *options], env=environment
    )


def refused(result: Result, kind: type[NetslimError] = PipelineError) -> str:
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


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


def test_wait_tells_the_states_and_ends_with_the_run(cluster: Cluster) -> None:
    cluster.states = ["PENDING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    result = run(cluster, "--wait")
    assert result.exit_code == 0
    assert re.findall(r"\d:\d\d   (\w+)\n", result.output) == ["pending", "running", "succeeded"]
    assert cluster.asked("GET /runs/") == 5


def test_a_wait_outlives_a_server_that_is_upgraded(cluster: Cluster) -> None:
    cluster.states = ["RUNNING", "SUCCEEDED"]
    cluster.faults = [Fault("GET /runs/", 503, times=30)]
    assert run(cluster, "--wait").exit_code == 0
    assert cluster.asked("GET /runs/") == 32


def test_a_wait_is_given_up_when_the_server_is_gone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 0.0)
    cluster.faults = [Fault("GET /runs/", 503, times=99)]
    assert "cannot look at the run (503" in refused(run(cluster, "--wait"))


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


def test_without_wait_nobody_asks_how_it_went(cluster: Cluster) -> None:
    run(cluster)
    assert cluster.asked("GET /runs/") == 0


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


def test_a_network_that_only_the_steps_know_is_submitted(cluster: Cluster) -> None:
    assert run(cluster, "--model", "our_company.networks:small").exit_code == 0
    assert cluster.runs[0].runtime_config.parameters["model"] == "our_company.networks:small"


def test_a_token_from_the_environment_is_sent_and_never_shown(cluster: Cluster) -> None:
    cluster.token = "very-secret"
    result = run(cluster, KF_PIPELINES_TOKEN="very-secret")
    assert result.exit_code == 0
    assert len(cluster.runs) == 1
    assert "very-secret" not in result.output + repr(KfpClient(host=cluster.address, token="very-secret"))


def test_a_wrong_or_missing_token_says_which(cluster: Cluster) -> None:
    cluster.token = "right"
    message = refused(run(cluster, "--token", "stale"))
    assert "not logged in (401)" in message
    assert "The token has expired or is not for this server" in message
    assert "stale" not in message
    assert "The server requires a token" in refused(run(cluster))


def test_a_token_that_expires_while_waiting_is_read_again(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    cluster.token, cluster.states = "first", ["RUNNING"]

    def rotate(event: watching.Event) -> None:
        if event.kind == "running":
            file.write_text("second\n")
            cluster.token, cluster.states = "second", ["SUCCEEDED"]

    backend = KfpClient(host=cluster.address, namespace="ann", token_file=str(file))
    run(cluster, "--token-file", str(file))
    cluster.states = ["RUNNING"]
    watching.watch(RunReader(backend, cluster.runs[0].run_id), on_event=rotate)
    assert cluster.runs[0].state == "SUCCEEDED"


def test_a_token_that_expires_for_good_ends_the_wait_and_not_the_run(cluster: Cluster) -> None:
    cluster.token = "first"

    def expire(event: watching.Event) -> None:
        cluster.token = "second"

    run(cluster, "--token", "first")
    backend = KfpClient(host=cluster.address, namespace="ann", token="first")
    with pytest.raises(PipelineError, match=r"may not look at the run: not logged in \(401\)"):
        watching.watch(RunReader(backend, cluster.runs[0].run_id), on_event=expire)
    assert cluster.runs[0].state == "PENDING"
    assert cluster.asked(":terminate") == 0


@pytest.mark.parametrize(
    ("forbidden", "doing"),
    [("POST /runs", "start the run"), ("POST /pipelines/upload", "upload the pipeline")],
)
def test_a_missing_permission_is_named_with_what_needs_it(
    cluster: Cluster, forbidden: str, doing: str
) -> None:
    cluster.token, cluster.forbidden = "t", forbidden
    message = refused(run(cluster, "--token", "t"))
    assert message.startswith(f"may not {doing} in namespace ann (403: User 'ann' is not authorized")
    assert "kubeflow-edit" in message


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 0])
def test_a_server_that_recovers_is_asked_again(cluster: Cluster, status: int) -> None:
    cluster.faults = [Fault("GET /pipelines$", status, times=2), Fault("POST /runs$", status, times=3)]
    assert run(cluster).exit_code == 0
    assert len(cluster.runs) == 1


@pytest.mark.parametrize("what", ["pipelines$", "pipelines/upload_version", "experiments", "runs$"])
def test_an_answer_that_got_lost_does_not_make_things_twice(cluster: Cluster, what: str) -> None:
    cluster.faults = [Fault(f"POST /{what}", 504, late=True)]
    assert run(cluster).exit_code == 0
    held = cluster.pipelines, cluster.versions, cluster.experiments, cluster.runs
    assert [len(things) for things in held] == [1, 1, 1, 1]
    assert cluster.asked(f"POST /{what}") == 1


def test_a_schedule_whose_answer_got_lost_is_one_schedule(cluster: Cluster) -> None:
    cluster.faults = [Fault("POST /recurringruns", 502, late=True)]
    assert run(cluster, "--cron", "0 3 * * 1").exit_code == 0
    assert len(cluster.schedules) == 1


def test_a_server_that_stays_away_is_given_up_with_its_own_words(cluster: Cluster) -> None:
    cluster.faults = [Fault("POST /runs$", 503, times=99)]
    message = refused(run(cluster))
    assert "cannot start the run (503: no healthy upstream)" in message
    assert cluster.asked("POST /runs$") == 5


def test_nobody_at_the_address() -> None:
    backend = KfpClient(host="http://127.0.0.1:1/pipeline", pauses=(0.0,))
    with pytest.raises(PipelineError, match=r"cannot be reached .*port-forward"):
        backend.check()


def test_a_server_too_old_is_refused_before_anything_is_uploaded(cluster: Cluster) -> None:
    cluster.version = "2.5.0"
    assert "KFP 2.5.0 is too old for this pipeline. Upgrade it to 2.17" in refused(run(cluster))
    assert cluster.asked("POST") == 0


def test_a_server_that_hides_its_age_is_found_out_by_what_it_cannot_read(cluster: Cluster) -> None:
    cluster.version, cluster.unknown_fields = "unknown", ("resourceMemoryLimit",)
    message = refused(run(cluster))
    assert "cannot upload the pipeline (400: " in message
    assert "The server is older than 2.17: upgrade it" in message


def test_no_kfp_at_the_address(cluster: Cluster) -> None:
    message = refused(run(cluster, "--host", cluster.address.replace("/pipeline", "/elsewhere")))
    assert "404" in message
    assert "the path before /apis belongs to --host" in message


def test_a_login_page_is_recognised(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.helpers.kfp_server import Handler

    def page(self: Any, status: int, content: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "19")
        self.end_headers()
        self.wfile.write(b"<html>log in</html>")

    monkeypatch.setattr(Handler, "reply", page)
    assert "answers, but not as KFP does. It may be a login page" in refused(run(cluster))


WAITING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
from netslim_kfp.pipelines.cli.follow import Follower
Follower(KfpClient(host={host!r}, namespace="ann")).follow({run!r}, "the-link", cancels={cancels})
"""


@pytest.mark.parametrize(("cancels", "said"), [(False, "The run goes on: the-link"), (True, "Canceled.")])
def test_ctrl_c_stops_the_wait_and_the_run_only_if_asked(cluster: Cluster, cancels: bool, said: str) -> None:
    run(cluster)
    cluster.states = ["RUNNING"]
    code = WAITING.format(host=cluster.address, run=cluster.runs[0].run_id, cancels=cancels)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as waiting:
        try:
            deadline = time.monotonic() + 120
            while not cluster.asked("GET /runs/"):
                assert time.monotonic() < deadline
                threading.Event().wait(0.05)  # `time.sleep` does not wait in these tests
            waiting.send_signal(signal.SIGINT)
            _, told = waiting.communicate(timeout=60)
        finally:
            waiting.kill()  # or the end of the block would wait for it
    assert said in told
    assert waiting.returncode != 0
    assert cluster.asked(":terminate") == cancels
    assert cluster.runs[0].state == ("CANCELING" if cancels else "RUNNING")
