"""Submit a compiled pipeline to a KFP backend: as a version, a run or a schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as kfp

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient, equals

__all__ = ["Submission", "Version", "cancel", "schedule", "start", "upload"]

CREATION = 150.0  # seconds: KFP's MLflow plugin holds a new run for a minute when its server does not answer


@dataclass(frozen=True)
class Version:
    """A version of a pipeline on a backend; `new` when it was uploaded just now."""

    pipeline_id: str
    version_id: str
    name: str
    new: bool


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A run to start: a version, values for its inputs, an experiment, and a name that no other run has.

    `kfp_mlflow` is whether KFP's own MLflow plugin may record it, where the plugin is switched on.
    """

    version: Version
    name: str
    arguments: Mapping[str, Any]
    experiment: str
    service_account: str = ""
    kfp_mlflow: bool = True


def upload(backend: KfpClient, file: Path, name: str) -> Version:
    """Make the compiled `file` a version of the pipeline `name`, or find the version with the same content.

    Raises:
        PipelineError: the server refuses.
    """
    client = backend.client()
    pipelines, uploads = kfp.PipelineServiceApi(client), kfp.PipelineUploadServiceApi(client)
    version = f"{name}-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"

    def find_pipeline() -> Any:
        return _one(
            backend.read(
                "look for the pipeline",
                pipelines.pipeline_service_list_pipelines,
                namespace=backend.namespace,
                filter=equals(name),
            ).pipelines
        )

    def find_version() -> Any:
        return _one(
            backend.read(
                "look for the version",
                pipelines.pipeline_service_list_pipeline_versions,
                pipeline.pipeline_id,
                filter=equals(version),
            ).pipeline_versions
        )

    def make_pipeline() -> Any:
        body = kfp.V2beta1Pipeline(name=name, display_name=name, namespace=backend.namespace or None)
        return backend.call("create the pipeline", pipelines.pipeline_service_create_pipeline, body)

    def make_version() -> Any:
        return backend.call(
            "upload the pipeline",
            uploads.upload_pipeline_version,
            str(file),
            name=version,
            pipelineid=pipeline.pipeline_id,
        )

    pipeline, _ = backend.ensure(find_pipeline, make_pipeline)
    found, new = backend.ensure(find_version, make_version)
    return Version(pipeline.pipeline_id, found.pipeline_version_id, version, new)


def start(backend: KfpClient, submission: Submission) -> str:
    """Start one run and return its id.

    Raises:
        PipelineError: the server refuses.
    """
    runs = kfp.RunServiceApi(backend.client())
    experiment_id = _experiment(backend, submission.experiment)

    def find() -> Any:
        listed = backend.read(
            "look for the run",
            runs.run_service_list_runs,
            experiment_id=experiment_id,
            filter=equals(submission.name),
        )
        return _one(listed.runs)

    def make() -> Any:
        body = kfp.V2beta1Run(**_common(submission, experiment_id))
        return backend.call("start the run", runs.run_service_create_run, body, timeout=CREATION)

    return str(backend.ensure(find, make)[0].run_id)


def schedule(backend: KfpClient, submission: Submission, cron: str) -> str:
    """Start the run on a schedule, and return the schedule's id.

    Args:
        cron: five fields as in crontab, or six with the seconds first as in KFP.

    Raises:
        ConfigError: `cron` is not a schedule.
        PipelineError: the server refuses.
    """
    fields = cron.split()
    if not (cron.startswith("@") or len(fields) in (5, 6)):
        remedy = 'Write five fields, such as "0 3 * * 1" for Mondays at three'
        raise ConfigError("not a schedule", field="cron", value=cron, remedy=remedy)
    api = kfp.RecurringRunServiceApi(backend.client())
    experiment_id = _experiment(backend, submission.experiment)

    def find() -> Any:
        listed = backend.read(
            "look for the schedule",
            api.recurring_run_service_list_recurring_runs,
            experiment_id=experiment_id,
            filter=equals(submission.name),
        )
        return _one(listed.recurring_runs)

    def make() -> Any:
        body = kfp.V2beta1RecurringRun(
            **_common(submission, experiment_id),
            trigger=kfp.V2beta1Trigger(
                cron_schedule=kfp.V2beta1CronSchedule(cron=" ".join(["0"] * (len(fields) == 5) + fields))
            ),
            max_concurrency="1",  # a late run and the next one must not share GPUs
            no_catchup=True,
            mode=kfp.RecurringRunMode.ENABLE,
        )
        return backend.call(
            "make the schedule", api.recurring_run_service_create_recurring_run, body, timeout=CREATION
        )

    return str(backend.ensure(find, make)[0].recurring_run_id)


def cancel(backend: KfpClient, run_id: str) -> None:
    """Stop a run."""
    runs = kfp.RunServiceApi(backend.client())
    backend.read("cancel the run", runs.run_service_terminate_run, run_id)


def _experiment(backend: KfpClient, name: str) -> str:
    api = kfp.ExperimentServiceApi(backend.client())

    def find() -> Any:
        listed = backend.read(
            "look for the experiment",
            api.experiment_service_list_experiments,
            namespace=backend.namespace,
            filter=equals(name),
        )
        return _one(listed.experiments)

    def make() -> Any:
        body = kfp.V2beta1Experiment(display_name=name, namespace=backend.namespace or None)
        return backend.call("create the experiment", api.experiment_service_create_experiment, body)

    return str(backend.ensure(find, make)[0].experiment_id)


def _common(submission: Submission, experiment_id: str) -> dict[str, Any]:
    """The fields that a run and a schedule share."""
    version = submission.version
    return {
        "display_name": submission.name,
        "experiment_id": experiment_id,
        "pipeline_version_reference": kfp.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        "runtime_config": kfp.V2beta1RuntimeConfig(parameters=dict(submission.arguments)),
        "service_account": submission.service_account or None,
        "plugins_input": None if submission.kfp_mlflow else {"mlflow": {"disabled": True}},
    }


def _one(found: list[Any] | None) -> Any:
    return found[0] if found else None
