"""The Kubernetes API calls of a step's pod: create a TrainJob, wait for its end, delete it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from netslim.errors import PipelineError
from netslim.steps.launch.trainjob_manifest import GROUP, PLURAL, VERSION
from netslim.training.signals import stop_on_sigterm

__all__ = ["Cluster", "FailedError"]

POLL = 5.0  # seconds between two requests
PATIENCE = 600.0  # seconds without an answer; an upgrade of the API server must not end a training of days
TIMEOUT = 30  # seconds for one request
BUSY = (408, 429, 500, 502, 503, 504)


class FailedError(PipelineError):
    """A TrainJob failed."""


class _UnavailableError(PipelineError):
    """The cluster did not answer, or answered that it is busy."""


class _ExistsError(PipelineError):
    """The name is taken."""


class _AbsentError(PipelineError):
    """Nothing has this name, or the cluster has no such resource type."""


REFUSALS: dict[int, tuple[type[PipelineError], str]] = {
    401: (PipelineError, "Mount the token of the service account in the step's pod"),
    403: (PipelineError, "Apply manifests/trainer, and submit with --service-account netslim"),
    404: (_AbsentError, "Install Kubeflow Trainer 2.2 or newer (docs/operate.md)"),
    409: (_ExistsError, "Delete that TrainJob"),
}


class Cluster:
    """The Kubernetes API with the permissions of the step's service account.

    Args:
        namespace: of the step's pod, and of its TrainJob.
        every: seconds between two requests for the state of a TrainJob.
        report: called with a line for each change of that state.

    Raises:
        PipelineError: this process does not run in a cluster.
    """

    def __init__(self, namespace: str, *, every: float = POLL, report: Callable[[str], None] = print) -> None:
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            config.load_config(client_configuration=settings)
        except config.ConfigException as error:
            remedy = "Training on several nodes needs a cluster; use --nodes 1"
            raise PipelineError(
                f"this process does not run in a Kubernetes cluster ({error})", remedy=remedy
            ) from error
        settings.retries = False  # retried in _ask, which decides by the answer
        self._api = client.ApiClient(settings)
        self._pods, self._jobs = client.CoreV1Api(self._api), client.CustomObjectsApi(self._api)
        self._resource = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}
        self._namespace, self._every, self._report = namespace, every, report

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as JSON data.

        Raises:
            PipelineError: the cluster refuses, or has not answered for ten minutes.
        """
        pod = self._ask("read the step's own pod", self._pods.read_namespaced_pod, name, self._namespace)
        data: dict[str, Any] = self._api.sanitize_for_serialization(pod)
        return data

    def remove(self, name: str) -> None:
        """Delete a TrainJob, if it exists, and return when its pods are deleted."""
        with suppress(_AbsentError):
            while True:
                self._delete(name)
                time.sleep(self._every)

    def run(self, job: Mapping[str, Any]) -> None:
        """Create a TrainJob, whose name must be free, and return when it is complete.

        At SIGTERM the TrainJob is deleted, so that its nodes write checkpoints, and the signal is obeyed.

        Raises:
            FailedError: the TrainJob failed.
            PipelineError: the cluster refuses, or has not answered for ten minutes.
        """
        name = job["metadata"]["name"]
        with stop_on_sigterm() as stop:
            self._create(job)
            last_state = ""
            while True:
                state, message = self._state(name)
                if state != last_state:
                    self._report(f"TrainJob {name}: {state}")
                    last_state = state
                if state == "complete":
                    return
                if state == "failed":
                    problem = f"TrainJob {name} failed ({message})"
                    raise FailedError(problem, remedy="Read the logs of its nodes")
                if stop.requested:
                    self._delete(name)
                    stop.obey()
                time.sleep(self._every)

    def _create(self, job: Mapping[str, Any]) -> None:
        call = self._jobs.create_namespaced_custom_object
        with suppress(_ExistsError):  # it was created by a request whose answer was lost
            self._ask("create a TrainJob", call, **self._resource, body=dict(job))

    def _delete(self, name: str) -> None:
        """Request the deletion; the TrainJob exists until its pods are deleted."""
        call = self._jobs.delete_namespaced_custom_object
        self._ask("delete a TrainJob", call, **self._resource, name=name, propagation_policy="Foreground")

    def _state(self, name: str) -> tuple[str, str]:
        """The state of a TrainJob in one or a few words, and the cluster's message about it."""
        call = self._jobs.get_namespaced_custom_object
        status = self._ask("read a TrainJob", call, **self._resource, name=name).get("status", {})
        for condition in status.get("conditions", ()):
            if condition["status"] == "True" and condition["type"] in ("Complete", "Failed", "Suspended"):
                return condition["type"].lower(), condition.get("message", "")
        ready = any(job["ready"] for job in status.get("jobsStatus", ()))
        return ("running" if ready else "waiting for its nodes"), ""

    def _ask(self, action: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One request, repeated for `PATIENCE` seconds while the cluster does not answer or is busy."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return _request(action, call, *args, **kwargs)
            except _UnavailableError:
                if time.monotonic() > until:
                    raise
                time.sleep(self._every)


def _request(action: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """One request; a refusal becomes an error with one sentence."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*args, **kwargs, _request_timeout=TIMEOUT)
    except HTTPError as error:
        raise _UnavailableError(f"cannot {action}: no answer ({error})") from error
    except ApiException as error:
        problem = f"cannot {action}: {_message(error)} ({error.status})"
        if error.status in BUSY:
            raise _UnavailableError(problem) from error
        kind, remedy = REFUSALS.get(error.status, (PipelineError, None))
        raise kind(problem, remedy=remedy) from error


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
