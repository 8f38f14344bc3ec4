"""What KFP's backend does with a request, by KFP's own API definitions, with everything in memory.

What it takes and gives are kfp-server-api's models, and a pipeline is read as kfp-pipeline-spec and
kfp-kubernetes define it; unknown fields are refused.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
import re
import uuid
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import kfp_server_api as kfp
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
from kfp.pipeline_spec import pipeline_spec_pb2 as spec

from tests.helpers.kfp_state import Cluster

MODELS = kfp.ApiClient()


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Request:
    """A request to the backend; `answer` gives what it returns, or raises RefusedError."""

    cluster: Cluster
    body: bytes
    content_type: str

    def answer(self, request: str, query: dict[str, str]) -> Any:
        for pattern, name in ROUTES.items():
            match = re.fullmatch(pattern, request)
            if match:
                return getattr(self, name)(query, *match.groups())
        raise RefusedError(404, "Not Found")

    def read(self, model: str) -> Any:
        """The request's body as one of KFP's models; a field that the model does not have is refused."""
        content = json.loads(self.body)
        names = set(getattr(kfp, model).attribute_map.values())
        if set(content) - names:
            raise RefusedError(400, f"proto: unknown field {sorted(set(content) - names)}")
        return MODELS.deserialize(SimpleNamespace(data=self.body), model)

    def healthz(self, query: dict[str, str]) -> Any:
        return {"commit_sha": "0", "tag_name": self.cluster.version, "multi_user": self.cluster.multi_user}

    def list_pipelines(self, query: dict[str, str]) -> Any:
        found = [p for p in self.cluster.pipelines if (p.namespace or "") == query.get("namespace", "")]
        return kfp.V2beta1ListPipelinesResponse(pipelines=named(found, query))

    def create_pipeline(self, query: dict[str, str]) -> Any:
        pipeline = self.read("V2beta1Pipeline")
        if any((p.name, p.namespace) == (pipeline.name, pipeline.namespace) for p in self.cluster.pipelines):
            raise RefusedError(409, f"pipeline {pipeline.name} already exists")
        pipeline.pipeline_id = str(uuid.uuid4())
        self.cluster.pipelines.append(pipeline)
        return pipeline

    def list_versions(self, query: dict[str, str], pipeline_id: str) -> Any:
        found = [v for v in self.cluster.versions if v.pipeline_id == pipeline_id]
        return kfp.V2beta1ListPipelineVersionsResponse(pipeline_versions=named(found, query))

    def upload_version(self, query: dict[str, str]) -> Any:
        if not any(p.pipeline_id == query["pipelineid"] for p in self.cluster.pipelines):
            raise RefusedError(404, "pipeline not found")
        if any(
            (v.pipeline_id, v.name) == (query["pipelineid"], query["name"]) for v in self.cluster.versions
        ):
            raise RefusedError(409, f"version {query['name']} already exists")
        version = kfp.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"],
            pipeline_version_id=str(uuid.uuid4()),
            name=query["name"],
            display_name=query["name"],
            pipeline_spec=self.parsed(uploaded(self.content_type, self.body)),
        )
        self.cluster.versions.append(version)
        return version

    def parsed(self, text: str) -> dict[str, Any]:
        for name in self.cluster.unknown_fields:
            if f"{name}:" in text:
                raise RefusedError(400, f'Failed to parse: proto: (line 1): unknown field "{name}"')
        pipeline, *platforms = yaml.safe_load_all(text)
        try:
            json_format.ParseDict(pipeline, spec.PipelineSpec())
            for platform in platforms:
                json_format.ParseDict(platform, spec.PlatformSpec())
                executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
                for settings in executors.values():
                    json_format.ParseDict(settings, kubernetes.KubernetesExecutorConfig())
        except json_format.ParseError as error:
            raise RefusedError(400, f"Invalid input error: {error}") from None
        return {"pipeline_spec": pipeline, "platform_spec": platforms[0] if platforms else {}}

    def list_experiments(self, query: dict[str, str]) -> Any:
        if query.get("namespace") and not self.cluster.multi_user:
            raise RefusedError(400, "In single-user mode, ListExperiment cannot filter by namespace")
        found = [e for e in self.cluster.experiments if (e.namespace or "") == query.get("namespace", "")]
        return kfp.V2beta1ListExperimentsResponse(experiments=named(found, query))

    def create_experiment(self, query: dict[str, str]) -> Any:
        experiment = self.read("V2beta1Experiment")
        experiment.experiment_id = str(uuid.uuid4())
        self.cluster.experiments.append(experiment)
        return experiment

    def list_runs(self, query: dict[str, str]) -> Any:
        found = [r for r in self.cluster.runs if r.experiment_id == query["experiment_id"]]
        return kfp.V2beta1ListRunsResponse(runs=named(found, query))

    def create_run(self, query: dict[str, str]) -> Any:
        self.cluster.bodies.append(json.loads(self.body))
        run = self.checked(self.read("V2beta1Run"))
        run.run_id, run.state = str(uuid.uuid4()), "PENDING"
        self.cluster.runs.append(run)
        return run

    def checked(self, wanted: Any) -> Any:
        """A run or a schedule: everything it names exists, and its inputs are the pipeline's."""
        reference = wanted.pipeline_version_reference
        if not any(e.experiment_id == wanted.experiment_id for e in self.cluster.experiments):
            raise RefusedError(404, "experiment not found")
        found = [v for v in self.cluster.versions if v.pipeline_version_id == reference.pipeline_version_id]
        if not found:
            raise RefusedError(404, "pipeline version not found")
        inputs = found[0].pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        for name, value in wanted.runtime_config.parameters.items():
            if name not in inputs:
                raise RefusedError(400, f"parameter {name} is not found in pipeline's input definitions")
            if not isinstance(value, TYPES[inputs[name]["parameterType"]]):
                raise RefusedError(400, f"input parameter {name} requires {inputs[name]['parameterType']}")
        return wanted

    def get_run(self, query: dict[str, str], run_id: str) -> Any:
        run = next((r for r in self.cluster.runs if r.run_id == run_id), None)
        if run is None:
            raise RefusedError(404, "run not found")
        if self.cluster.states:
            run.state = self.cluster.states.pop(0)
        states = [*self.cluster.history, run.state]
        run.state_history = [kfp.V2beta1RuntimeStatus(state=state) for state in states]
        return run

    def get_workflow(self, query: dict[str, str], run_id: str) -> Any:
        """The run as KFP's API v1beta1 gives it: with the Workflow as text."""
        workflows = self.cluster.workflows
        if not workflows:
            raise RefusedError(404, "Not Found")
        workflow = workflows.pop(0) if len(workflows) > 1 else workflows[0]
        return {"run": {"id": run_id}, "pipeline_runtime": {"workflow_manifest": json.dumps(workflow)}}

    def list_runs_v1(self, query: dict[str, str]) -> Any:
        return {"runs": []}

    def get_log(self, query: dict[str, str], run_id: str, node: str) -> bytes:
        if node not in self.cluster.logs:
            raise RefusedError(500, f"Failed to read logs for run {run_id}")
        return self.cluster.logs[node].encode()

    def get_version(self, query: dict[str, str], pipeline_id: str, version_id: str) -> Any:
        found = [v for v in self.cluster.versions if v.pipeline_version_id == version_id]
        if not found:
            raise RefusedError(404, "pipeline version not found")
        return found[0]

    def terminate_run(self, query: dict[str, str], run_id: str) -> Any:
        self.get_run(query, run_id).state = "CANCELING"
        return {}

    def list_schedules(self, query: dict[str, str]) -> Any:
        found = [s for s in self.cluster.schedules if s.experiment_id == query["experiment_id"]]
        return kfp.V2beta1ListRecurringRunsResponse(recurring_runs=named(found, query))

    def create_schedule(self, query: dict[str, str]) -> Any:
        schedule = self.checked(self.read("V2beta1RecurringRun"))
        if len(schedule.trigger.cron_schedule.cron.split()) != 6:
            raise RefusedError(400, "Invalid cron expression: expected exactly 6 fields")
        schedule.recurring_run_id = str(uuid.uuid4())
        self.cluster.schedules.append(schedule)
        return schedule


TYPES: dict[str, Any] = {
    "STRING": str,
    "BOOLEAN": bool,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "STRUCT": dict,
    "LIST": list,
}
ROUTES = {
    "GET /healthz": "healthz",
    "GET /pipelines": "list_pipelines",
    "POST /pipelines": "create_pipeline",
    "GET /pipelines/([^/]+)/versions": "list_versions",
    "GET /pipelines/([^/]+)/versions/([^/]+)": "get_version",
    "POST /pipelines/upload_version": "upload_version",
    "GET /experiments": "list_experiments",
    "POST /experiments": "create_experiment",
    "GET /runs": "list_runs",
    "POST /runs": "create_run",
    "GET /runs/([^/:]+)": "get_run",
    "GET /apis/v1beta1/runs": "list_runs_v1",
    "GET /apis/v1beta1/runs/([^/:]+)": "get_workflow",
    "GET /apis/v1alpha1/runs/([^/:]+)/nodes/([^/]+)/log": "get_log",
    "POST /runs/([^/:]+):terminate": "terminate_run",
    "GET /recurringruns": "list_schedules",
    "POST /recurringruns": "create_schedule",
}


def named(found: list[Any], query: dict[str, str]) -> list[Any]:
    """Apply KFP's filter; only equality of the display name is asked for."""
    for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
        assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name"), predicate
        found = [item for item in found if item.display_name == predicate["stringValue"]]
    return found


def uploaded(content_type: str, body: bytes) -> str:
    """The file in a multipart body."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = [
        part
        for part in message.iter_parts()
        if part.get_param("name", header="Content-Disposition") == "uploadfile"
    ]
    return str(
        parts[0].get_content()
        if parts[0].get_content_maintype() == "text"
        else parts[0].get_payload(decode=True).decode()
    )
