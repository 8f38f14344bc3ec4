"""Read a run from KFP: its state, its steps with their reasons, the titles of its steps, their logs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import kfp_server_api as kfp

from netslim.errors import PipelineError, did_you_mean
from netslim_kfp.components.argo.workflow import Step, steps_of
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient

__all__ = ["RunReader", "titles_of"]


@dataclass
class RunReader:
    """One run on a backend. Its id is KFP's, as in the link to it."""

    backend: KfpClient
    run_id: str
    _version: tuple[str, str] = field(default=("", ""), init=False)

    def run(self) -> Any:
        """The run as KFP's API v2beta1 gives it.

        Raises:
            PipelineError: there is no such run, or the server refuses.
        """
        if not re.fullmatch(r"[\w-]+", self.run_id):
            remedy = "It is the last part of the link to the run"
            raise PipelineError("not the id of a run", field="run", value=self.run_id, remedy=remedy)
        runs = kfp.RunServiceApi(self.backend.client())
        run = self.backend.read("look at the run", runs.run_service_get_run, self.run_id)
        if reference := run.pipeline_version_reference:
            self._version = reference.pipeline_id, reference.pipeline_version_id
        return run

    def steps(self) -> list[Step]:
        """The steps of the run so far, from the Workflow object that KFP's API v1beta1 gives.

        Empty where a gateway hides that API, or before Argo has seen the run.
        """
        try:
            text = self.backend.fetch("look at the steps", f"/apis/v1beta1/runs/{self.run_id}")
            manifest = json.loads(text).get("pipeline_runtime", {}).get("workflow_manifest")
            return steps_of(json.loads(manifest)) if manifest else []
        except (PipelineError, ValueError):
            return []

    def log(self, step: Step) -> str:
        """The log of the step's newest pod, also when the pod is gone; empty where the API has none."""
        for name in (step.pod, step.node):
            try:
                path = f"/apis/v1alpha1/runs/{self.run_id}/nodes/{name}/log"
                if name and (text := self.backend.fetch("read a log", path)):
                    return text
            except PipelineError:
                continue  # the pod is gone and its log was not kept, or this server has another name for it
        return ""

    @cached_property
    def titles(self) -> dict[str, str]:
        """The title of each task of the run's pipeline; empty where the pipeline cannot be read."""
        if not all(self._version):
            self.run()
        pipelines = kfp.PipelineServiceApi(self.backend.client())
        try:
            version = self.backend.read(
                "look at the pipeline",
                pipelines.pipeline_service_get_pipeline_version,
                *self._version,
            )
        except PipelineError:
            return {}
        return titles_of(version.pipeline_spec or {})

    def title(self, step: Step) -> str:
        """The step's title, such as `pass 2: prune`; in a sweep with the number of its point, from 1."""
        title = self.titles.get(step.task, step.task)
        if step.iteration is not None:
            title = f"point {step.iteration + 1}: {title}"
        return f"{title} (KFP's driver)" if step.driver else title

    def find(self, wanted: str, steps: list[Step]) -> Step:
        """The step that `wanted` names by its title or task, or by a part of them that no other step has.

        Raises:
            PipelineError: no step has this name, or several have.
        """
        names = {self.title(step): step for step in steps}
        exact = [step for title, step in names.items() if wanted.lower() in (title.lower(), step.task)]
        found = exact or [step for title, step in names.items() if wanted.lower() in title.lower()]
        if len(found) == 1:
            return found[0]
        if found:
            problem = "several steps have this in their names"
            remedy = f"Name one of {', '.join(map(self.title, found))}"
        else:
            problem, remedy = "no step has this name", did_you_mean(wanted, names)
        raise PipelineError(problem, field="step", value=wanted, remedy=remedy)


def titles_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """The title of each task in a compiled pipeline, with or without its platform document around."""
    ir = spec.get("pipeline_spec", spec)
    groups = (ir.get("root", {}), *ir.get("components", {}).values())
    return {
        name: str(task.get("taskInfo", {}).get("name") or name)
        for group in groups
        for name, task in group.get("dag", {}).get("tasks", {}).items()
    }
