"""What ended a step, in a word: from Argo's message and the step's log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from netslim_kfp.components.argo.workflow import Step

__all__ = ["Cause", "cause_of", "own_lines"]

USER_ERRORS = range(2, 11)  # the exit codes of netslim.errors: the same step would fail again
WORDS = (  # Argo's and Kubernetes' messages, by what they mean
    ("out of memory", r"OOMKilled"),
    ("time-out", r"longer than the specified deadline|DeadlineExceeded"),
    ("out of tries", r"Max duration limit exceeded"),
    ("canceled", r"workflow deadline|Step exceeded its deadline|workflow shutdown"),
    ("evicted", r"[Ee]vict|low on resource|exceeds the total limit|exceeds the limit|[Pp]reempt"),
    ("pod deleted", r"pod deleted"),
    ("no image", r"ErrImagePull|ImagePullBackOff|InvalidImageName"),
)
REMEDIES = {
    "out of memory": "Give its kind of step more memory in the profiles",
    "time-out": "Give its kind of step a longer timeout; a training goes on from its checkpoints",
    "out of tries": "Submit it again; a training goes on from its checkpoints",
    "evicted": "Submit it again, with more scratch in the profiles if the disk was full",
    "pod deleted": "Submit it again; finished steps come from the cache",
    "killed": "Submit it again; finished steps come from the cache",
    "no image": "Check NETSLIM_REGISTRY, NETSLIM_IMAGE_TAG and image_pull_secrets in the profiles",
}
KILLED = (137, 143)  # 128 + SIGKILL, SIGTERM
WORTH_ANOTHER_TRY = ("out of memory", "time-out", "out of tries", "evicted", "pod deleted", "killed")
# Lines of KFP's launcher and executor and of Argo's emissary, which stand around those of a step.
FOREIGN = re.compile(r'[IWEF]\d{4} \d\d:\d\d:\d\d|time="|\{"(time|level|ts)"|\[KFP Executor|\s*$')


@dataclass(frozen=True)
class Cause:
    """Why a step ended. `code` is the exit code of the step's process, None where no log has it.

    `word` is short, such as `out of memory`; `detail` is the message of the step or of Kubernetes.
    """

    word: str
    detail: str = ""
    code: int | None = None

    @property
    def remedy(self) -> str:
        """What the user can do, as a sentence without its full stop; empty for a canceled run."""
        if self.word == "canceled" or self.user_error:
            return ""
        return REMEDIES.get(self.word, "See the step's log")

    @property
    def user_error(self) -> bool:
        """Whether the step ended with an error that it would end with again."""
        return self.code in USER_ERRORS

    @property
    def worth_another_try(self) -> bool:
        """Whether the step may succeed as it is. Not where a user's mistake cannot be excluded."""
        crashed = self.code is not None and not self.user_error
        return self.word in WORTH_ANOTHER_TRY or crashed


def cause_of(step: Step, log: str, *, canceled: bool = False) -> Cause:
    """What ended the failed `step`.

    Args:
        log: the step's log, or its end. KFP's launcher ends every pod with exit code 1 and writes the exit
            code of the step's process to the log.
        canceled: whether the run was canceled. Argo then stops pods as if they had exceeded a deadline.
    """
    if canceled:
        return Cause("canceled")
    for word, pattern in WORDS:
        if re.search(pattern, step.message):
            return Cause(word, step.message)
    code, of_pod = _last_number(r"exit status (\d+)", log), _last_number(r"exit code (\d+)", step.message)
    if code in KILLED or of_pod in KILLED or "signal: killed" in log:
        return Cause("killed", step.message, code)
    errors = re.findall(r"^netslim: (.+)$", log, re.MULTILINE)
    shown = of_pod if code is None else code
    word = "an error" if shown is None else f"exit code {shown}"
    return Cause(word, errors[-1] if errors else step.message, code)


def _last_number(pattern: str, text: str) -> int | None:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else None


def own_lines(log: str, at_most: int) -> list[str]:
    """The last lines of a log that the step itself wrote."""
    lines = [line.rstrip() for line in log.splitlines() if not FOREIGN.match(line)]
    return lines[-at_most:]
