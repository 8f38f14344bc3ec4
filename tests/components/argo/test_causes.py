"""What ended a step in a word, from the messages that a real backend gave."""

from __future__ import annotations

import pytest

from netslim_kfp.components.argo.causes import cause_of, own_lines
from netslim_kfp.components.argo.workflow import Step, steps_of
from tests.helpers.kfp_samples import sample

MISTAKE = """\
time="2026-11-27T22:25:03.101Z" level=info msg="capturing logs" argo=true
I1127 22:25:03.512345      15 launcher_v2.go:153] publish logs
[KFP Executor 2026-11-27 22:25:05,001 INFO]: Looking for component `prepare_data` in --component_module_path
reading s3://data/missing
netslim: s3://data/missing: nothing to download there. Check the bucket and the folder.
F1127 22:25:08.912345      15 main.go:54] failed to execute component: exit status 8
"""


def failed(name: str) -> Step:
    (step,) = [step for step in steps_of(sample(name)["workflow"]) if step.state == "failed"]
    return step


@pytest.mark.parametrize(
    ("name", "log", "word", "code"),
    [
        ("out-of-memory", "", "out of memory", None),
        ("timed-out", "", "time-out", None),
        ("user-mistake", MISTAKE, "exit code 8", 8),
        ("user-mistake", "", "exit code 1", None),
    ],
)
def test_each_sample_has_its_word(name: str, log: str, word: str, code: int | None) -> None:
    cause = cause_of(failed(name), log)
    assert (cause.word, cause.code) == (word, code)


def test_a_canceled_run_is_told_from_a_killed_step() -> None:
    step = failed("canceled")
    assert cause_of(step, "", canceled=True).word == "canceled"
    assert cause_of(step, "").word == "killed"  # 143: somebody else sent SIGTERM


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("Max duration limit exceeded", "out of tries"),
        ("pod deleted", "pod deleted"),
        ("The node was low on resource: ephemeral-storage.", "evicted"),
        ('Usage of EmptyDir volume "scratch" exceeds the limit "10Gi".', "evicted"),
        ("ImagePullBackOff: Back-off pulling image", "no image"),
        ("", "an error"),
    ],
)
def test_other_messages_of_argo_and_kubernetes(message: str, word: str) -> None:
    assert cause_of(Step("prune", "failed", message=message), "").word == word


def test_a_users_mistake_is_named_by_the_steps_own_message_and_not_worth_another_try() -> None:
    cause = cause_of(failed("user-mistake"), MISTAKE)
    assert cause.detail == "s3://data/missing: nothing to download there. Check the bucket and the folder."
    assert cause.user_error
    assert cause.remedy == ""
    assert not cause.worth_another_try


@pytest.mark.parametrize(
    ("name", "log", "again"),
    [
        ("out-of-memory", "", True),
        ("timed-out", "", True),
        ("canceled", "", True),  # a pod that got SIGTERM, in a run that was not canceled
        ("user-mistake", "exit status 1", True),  # a crash
        ("user-mistake", "signal: killed", True),
        ("user-mistake", "exit status 3", False),
        ("user-mistake", "", False),  # without a log it may be a user's mistake
    ],
)
def test_what_is_worth_another_try(name: str, log: str, again: bool) -> None:
    assert cause_of(failed(name), log).worth_another_try == again


def test_lines_of_kfp_and_argo_are_not_the_steps_own() -> None:
    assert own_lines(MISTAKE, 9) == MISTAKE.splitlines()[3:5]
    assert own_lines(MISTAKE, 1) == MISTAKE.splitlines()[4:5]
