"""Kubernetes' API as the pod of a step may use it: to run a TrainJob, from its creation to its end."""

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

EVERY = 5.0  # seconds between two looks
PATIENCE = 600.0  # seconds; a training of days outlives an API server that is upgraded meanwhile
TIMEOUT = 30  # seconds for one answer
BUSY = (408, 429, 500, 502, 503, 504)


class FailedError(PipelineError):
    """A TrainJob that has come to a bad end."""


class _UnavailableError(PipelineError):
    """The cluster did not answer, or answered that it cannot now."""


class _ExistsError(PipelineError):
    """There is one of that name."""


class _AbsentError(PipelineError):
    """There is none of that name, or the cluster does not know such things."""


REFUSALS: dict[int, tuple[type[PipelineError], str]] = {
    401: (PipelineError, "The step's pod needs the token of its service account"),
    403: (PipelineError, "Apply manifests/trainer, and submit with --service-account netslim"),
    404: (_AbsentError, "Install Kubeflow Trainer 2.2 or newer (docs/operate.md)"),
    409: (_ExistsError, "Delete it"),
}


class Cluster:
    """Kubernetes' API, as the step's service account may use it.

    Args:
        namespace: of the step's pod, and of its TrainJob.
        every: seconds between two looks at a TrainJob.
        told: hears what becomes of it.

    Raises:
        PipelineError: there is no cluster around this process.
    """

    def __init__(self, namespace: str, *, every: float = EVERY, told: Callable[[str], None] = print) -> None:
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            config.load_config(client_configuration=settings)
        except config.ConfigException as error:
            remedy = "Several nodes are for steps on a cluster"
            raise PipelineError(f"no Kubernetes to ask ({error})", remedy=remedy) from error
        settings.retries = False  # retried here, where each answer has its meaning
        self._api = client.ApiClient(settings)
        self._pods, self._jobs = client.CoreV1Api(self._api), client.CustomObjectsApi(self._api)
        self._kind = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}
        self._namespace, self._every, self._told = namespace, every, told

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as JSON.

        Raises:
            PipelineError: the cluster refuses, or has not answered for ten minutes.
        """
        found = self._ask("read the step's own pod", self._pods.read_namespaced_pod, name, self._namespace)
        shown: dict[str, Any] = self._api.sanitize_for_serialization(found)
        return shown

    def remove(self, name: str) -> None:
        """Delete a TrainJob, if it is there, and return when its pods are gone."""
        with suppress(_AbsentError):
            while True:
                self._delete(name)
                time.sleep(self._every)

    def run(self, job: Mapping[str, Any]) -> None:
        """Create a TrainJob, whose name must be free, and return when it is complete.

        At SIGTERM it is deleted, so that its nodes leave checkpoints, and the signal is obeyed.

        Raises:
            FailedError: it failed.
            PipelineError: the cluster refuses, or has not answered for ten minutes.
        """
        name = job["metadata"]["name"]
        with stop_on_sigterm() as stop:
            self._create(job)
            before = ""
            while True:
                state, message = self._state(name)
                if state != before:
                    self._told(f"TrainJob {name}: {state}")
                    before = state
                if state == "complete":
                    return
                if state == "failed":
                    problem = f"TrainJob {name} failed ({message})"
                    raise FailedError(problem, remedy="The log of its nodes says more")
                if stop.requested:
                    self._delete(name)
                    stop.obey()
                time.sleep(self._every)

    def _create(self, job: Mapping[str, Any]) -> None:
        call = self._jobs.create_namespaced_custom_object
        with suppress(_ExistsError):  # the answer to a first request was lost
            self._ask("create a TrainJob", call, **self._kind, body=dict(job))

    def _delete(self, name: str) -> None:
        """Ask for its end; it is gone when its pods are."""
        call = self._jobs.delete_namespaced_custom_object
        self._ask("delete a TrainJob", call, **self._kind, name=name, propagation_policy="Foreground")

    def _state(self, name: str) -> tuple[str, str]:
        """What has become of it in a word, and what the cluster says about that."""
        call = self._jobs.get_namespaced_custom_object
        status = self._ask("look at a TrainJob", call, **self._kind, name=name).get("status", {})
        for condition in status.get("conditions", ()):
            if condition["status"] == "True" and condition["type"] in ("Complete", "Failed", "Suspended"):
                return condition["type"].lower(), condition.get("message", "")
        ready = any(job["ready"] for job in status.get("jobsStatus", ()))
        return ("running" if ready else "waiting for its nodes"), ""

    def _ask(self, what: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One request, again and again while the cluster does not answer or cannot."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return _request(what, call, *args, **kwargs)
            except _UnavailableError:
                if time.monotonic() > until:
                    raise
                time.sleep(self._every)


def _request(what: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """One request, whose refusal is one sentence."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*args, **kwargs, _request_timeout=TIMEOUT)
    except HTTPError as error:
        raise _UnavailableError(f"cannot {what}: no answer ({error})") from error
    except ApiException as error:
        problem = f"cannot {what}: {_message(error)} ({error.status})"
        if error.status in BUSY:
            raise _UnavailableError(problem) from error
        kind, remedy = REFUSALS.get(error.status, (PipelineError, None))
        raise kind(problem, remedy=remedy) from error


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
