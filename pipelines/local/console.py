"""A local run on screen: one line for each finished step, one progress bar for the running step.

There are two sources. KFP's log has a line when a step starts, ends or comes from the cache. The events that
steps write (netslim.progress) hold their progress and their errors.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from netslim.errors import NetslimError, PipelineError
from netslim.progress import metrics_text
from netslim_kfp.pipelines.local.steps import EXIT

__all__ = ["RunView", "step_titles"]

ANSI = re.compile(r"\x1b\[[0-9;]*m")
STARTED = re.compile(r"Executing task '([^']+)'")
ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")
CACHED = re.compile(r"Task (\S+) cache hit")
NOT_USED = re.compile(r"Cached results of (\S+) are not used: (.*)")
PROCESS_ENDED = re.compile(f"{EXIT}(.*)")


def step_titles(ir: dict[str, Any]) -> dict[str, str]:
    """The title of every step, by the name of its task and of its component: KFP's log has both."""
    titles: dict[str, str] = {}
    for component in [{"dag": ir["root"]["dag"]}, *ir["components"].values()]:
        for task, spec in component.get("dag", {}).get("tasks", {}).items():
            name = spec["componentRef"]["name"]
            if "dag" not in ir["components"][name]:
                titles[name.removeprefix("comp-")] = spec["taskInfo"]["name"]
                titles.setdefault(task, spec["taskInfo"]["name"])
    return titles


class RunView:
    """Draws a run on `console`, from the lines of KFP's log and the events of its steps.

    Args:
        titles: the title of each step by its names in KFP's log; see `step_titles`.
        events: the file that steps append their events to.
        console: where to draw; without a terminal there is no bar.
        trained: called with the checkpoint folders of a step that has ended well.

    `executed` and `cached` list the titles of steps, `errors` the errors of failed steps in their order, and
    `checkpoints` the folders of their trainings.
    """

    def __init__(
        self,
        titles: dict[str, str],
        events: Path,
        console: Console,
        trained: Callable[[Collection[Path]], object] = len,
    ) -> None:
        self.titles, self.events, self.console, self.trained = titles, events, console, trained
        self.executed: list[str] = []
        self.cached: list[str] = []
        self.errors: list[NetslimError] = []
        self.checkpoints: set[Path] = set()
        self.step_checkpoints: set[Path] = set()
        self.errors_before = 0  # how many there were when the step began
        self.exit = self.last_words = ""  # how the step's process ended, and the last line before
        self.read_to = 0
        self.started: dict[str, float] = {}
        self.metrics: dict[str, Any] = {}
        self.current = ""
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[metrics]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("starting", total=None, metrics="")

    def __enter__(self) -> RunView:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def line(self, text: str) -> None:
        """Read one line of KFP's log."""
        text = ANSI.sub("", text)
        if match := CACHED.search(text):
            self.cached.append(self._title(match[1]))
            self._print("[dim]cached[/]", self._title(match[1]), "")
        elif match := NOT_USED.search(text):
            rest = escape(f"its cached results are not used: {match[2]}")
            self._print("[yellow]damaged[/]", self._title(match[1]), rest)
        elif match := STARTED.search(text):
            self.current = self._title(match[1])
            self.errors_before, self.exit, self.last_words = len(self.errors), "", ""
            self.step_checkpoints = set()
            self.started[self.current], self.metrics = time.monotonic(), {}
            self.progress.reset(self.task, total=None, description=self.current, metrics="")
        elif match := ENDED.search(text):
            self.poll()
            title = self._title(match[1])
            good = match[2] == "SUCCESS"
            if good:
                self.executed.append(title)
                self.trained(self.step_checkpoints)
            elif len(self.errors) == self.errors_before:
                self.errors.append(self._unexplained(title))
            seconds = time.monotonic() - self.started.get(title, time.monotonic())
            mark = "[green]done[/]  " if good else "[red]failed[/]"
            self._print(mark, title, f"{seconds:5.1f} s  {metrics_text(self.metrics)}")
        elif match := PROCESS_ENDED.search(text):
            self.exit = match[1]
        elif self.current and text.strip():
            self.last_words = text.strip()

    def warn(self, text: str) -> None:
        """Print a sentence that a user should read."""
        self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def poll(self) -> None:
        """Read the events written since the last call."""
        if not self.events.exists():
            return
        with self.events.open(encoding="utf-8") as stream:
            stream.seek(self.read_to)
            for text in iter(stream.readline, ""):
                if not text.endswith("\n"):
                    break  # still being written
                self.read_to = stream.tell()
                with suppress(json.JSONDecodeError):  # a process was killed, or the disk full, in mid-line
                    self._event(json.loads(text))

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "error":
            self.errors.append(NetslimError.from_json(event))
        elif event["event"] == "checkpoints":
            self.checkpoints.add(Path(event["folder"]))
            self.step_checkpoints.add(Path(event["folder"]))
        elif event["event"] in ("start", "advance"):
            self.metrics = event["metrics"] or self.metrics
            self.progress.update(
                self.task,
                total=event["total"],
                completed=event["done"],
                description=f"{self.current}: {event['title']}",
                metrics=metrics_text(self.metrics),
            )

    def _unexplained(self, title: str) -> PipelineError:
        """The error of a step that wrote none, because it failed before it could."""
        problem = self.exit or "failed"
        if self.last_words:
            problem += f" after the line {self.last_words!r}"
        return PipelineError(problem, field="step", value=title)

    def _title(self, name: str) -> str:
        return self.titles.get(name, name)

    def _print(self, mark: str, title: str, rest: str) -> None:
        self.console.print(f"  {mark} {title:<24} {rest}".rstrip(), highlight=False, soft_wrap=True)
