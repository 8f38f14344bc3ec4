"""What the user sees while a local run works: one line per finished step, one bar for the step at work.

Two sources tell it: KFP's log says which step starts, ends, or is taken from the cache; the steps' own
events (netslim.progress) say how far each has come and what went wrong.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

__all__ = ["RunView", "step_titles"]

ANSI = re.compile(r"\x1b\[[0-9;]*m")
STARTED = re.compile(r"Executing task '([^']+)'")
ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")
CACHED = re.compile(r"Task (\S+) cache hit")


def step_titles(ir: dict[str, Any]) -> dict[str, str]:
    """The display title of every step, by its task's name and by its component's (KFP's log uses both)."""
    titles: dict[str, str] = {}
    for component in [{"dag": ir["root"]["dag"]}, *ir["components"].values()]:
        for task, spec in component.get("dag", {}).get("tasks", {}).items():
            name = spec["componentRef"]["name"]
            if "dag" not in ir["components"][name]:
                titles[name.removeprefix("comp-")] = spec["taskInfo"]["name"]
                titles.setdefault(task, spec["taskInfo"]["name"])
    return titles


class RunView:
    """Draws a run. Feed it KFP's log lines; it reads the events itself.

    `executed` and `cached` count steps by title; `errors` holds the error events of failed steps.
    """

    def __init__(self, titles: dict[str, str], events: Path, console: Console) -> None:
        self.titles, self.events, self.console = titles, events, console
        self.executed: list[str] = []
        self.cached: list[str] = []
        self.errors: list[dict[str, str]] = []
        self.read_to = 0
        self.started: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self.current = ""
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[told]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("starting", total=None, told="")

    def __enter__(self) -> RunView:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def line(self, text: str) -> None:
        """Take one line of KFP's log."""
        text = ANSI.sub("", text)
        if match := CACHED.search(text):
            self.cached.append(self._title(match[1]))
            self._tell("[dim]cached[/]", self._title(match[1]), "")
        elif match := STARTED.search(text):
            self.current = self._title(match[1])
            self.started[self.current], self.facts = time.monotonic(), {}
            self.progress.reset(self.task, total=None, description=self.current, told="")
        elif match := ENDED.search(text):
            self.poll()
            title = self._title(match[1])
            good = match[2] == "SUCCESS"
            if good:
                self.executed.append(title)
            seconds = time.monotonic() - self.started.get(title, time.monotonic())
            self._tell(
                "[green]done[/]  " if good else "[red]failed[/]", title, f"{seconds:5.1f} s  {self._told()}"
            )

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
                self._event(json.loads(text))

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "error":
            self.errors.append(event)
        elif event["event"] in ("start", "advance"):
            self.facts = event["facts"] or self.facts
            self.progress.update(
                self.task,
                total=event["total"],
                completed=event["done"],
                description=f"{self.current}: {event['title']}",
                told=self._told(),
            )

    def _title(self, name: str) -> str:
        return self.titles.get(name, name)

    def _told(self) -> str:
        return "  ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in self.facts.items()
        )

    def _tell(self, mark: str, title: str, rest: str) -> None:
        self.console.print(f"  {mark} {title:<24} {rest}".rstrip(), highlight=False)
