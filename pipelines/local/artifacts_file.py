"""The file artifacts.json of a local run: what each step wrote, and where.

The results of all runs are in one folder, and a cached step has those of an earlier run. So a run's own
folder has this file, by which its networks and its dataset are found:

    {"prepare data": {"dataset": "../artifacts/.../dataset"}, "pass 1: train sparse": {"model": ...}, ...}
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netslim.storage.atomic import write_json

__all__ = ["ArtifactsFile", "written_by"]


class ArtifactsFile:
    """Writes the file, step after step. Paths are relative to its folder.

    Args:
        file: where it is written.
        titles: the title of each step by the name of its component.
    """

    def __init__(self, file: Path, titles: Mapping[str, str]) -> None:
        self.file, self.titles = file, titles
        self._steps: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()  # steps of a sweep run at the same time

    def add(self, component: str, paths: Mapping[str, str]) -> None:
        """Add the artifacts of a step that has ended, by name; a step without any is left out."""
        if paths:
            relative = {name: os.path.relpath(path, self.file.parent) for name, path in paths.items()}
            with self._lock:
                self._steps[self.titles.get(component, component)] = relative
                write_json(self.file, self._steps)


def written_by(command: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The component of a step by its command, and the paths of its artifacts by name.

    KFP gives each step its inputs and outputs as JSON, and names the folder of its outputs for the component.
    """
    inputs = [part for part in command if part.startswith("{")]
    if not inputs:
        return "", {}
    outputs: dict[str, Any] = json.loads(inputs[-1])["outputs"]
    artifacts = outputs.get("artifacts", {})
    paths = {name: each["artifacts"][0]["uri"] for name, each in artifacts.items() if each["artifacts"]}
    return Path(outputs["outputFile"]).parent.name, paths
