"""Start pods for a check, wait for their ends, and delete them whatever happens."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

from netslim.errors import PipelineError
from netslim_kfp.pipelines.cluster.image_pods import LABEL, ImagePod, pod_manifest
from netslim_kfp.pipelines.cluster.pod_outcome import Outcome, outcome, unfinished

__all__ = ["PodStarter"]

POLL = 2.0  # seconds between two requests for the states of all pods
REQUEST = 15  # seconds for one request
TRIES = 3  # to delete a pod while the API does not answer
QUOTA = "exceeded quota"
OLD = timedelta(hours=1)  # after the deadline of a pod: the check that made it was killed


class PodStarter:
    """The Kubernetes API with the permissions of the user: the current context of kubectl.

    Args:
        namespace: where the pods are created.
        timeout: seconds from the creation of the pods to the end of the waiting.
        every: seconds between two requests for their states.

    Raises:
        PipelineError: there is no configuration for a cluster.
    """

    def __init__(self, namespace: str, *, timeout: int, every: float = POLL) -> None:
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            config.load_config(client_configuration=settings)
        except config.ConfigException as error:
            raise PipelineError(f"kubectl has no cluster to connect to ({error})") from error
        settings.retries = False  # what may be sent again is sent again here
        self._client = client.ApiClient(settings)
        self._api = client.CoreV1Api(self._client)
        self._namespace, self._timeout, self._every = namespace, timeout, every
        self.server = str(settings.host)
        """The address of the Kubernetes API."""

    def start(self, pods: Sequence[ImagePod], service_account: str, left: list[str]) -> list[Outcome]:
        """Create all pods at once, and return how each ended. Afterwards the pods are deleted.

        They are also deleted at Ctrl-C and at SIGTERM. Nothing is created without the right to delete it.

        Args:
            left: gets the names of pods that could not be deleted.

        Raises:
            PipelineError: a permission is missing, or the API does not answer.
        """
        check = uuid.uuid4().hex[:8]
        names = [f"netslim-doctor-{pod.name}-{check}" for pod in pods]
        self._delete_old()
        self._delete(names[0])  # does not exist yet: this asks for the permission
        manifests = {
            name: pod_manifest(pod, name, check=check, service_account=service_account, timeout=self._timeout)
            for pod, name in zip(pods, names, strict=True)
        }
        with _exit_at_sigterm():
            try:
                found = self._run(f"{LABEL}={check}", manifests)
            finally:
                self._delete_all(names, left)
        return [found[name] for name in names]

    def _run(self, selector: str, manifests: Mapping[str, dict[str, Any]]) -> dict[str, Outcome]:
        """Create the pods and wait for their outcomes, at most until the time is over.

        A pod that exceeds a quota is created again while another one is there, which may be what uses it up.
        """
        until = time.monotonic() + self._timeout
        queued, running, found = list(manifests), list[str](), dict[str, Outcome]()
        while True:
            over = time.monotonic() >= until
            for name in tuple(queued):
                refusal = self._create(manifests[name])
                if refusal is None:
                    running.append(name)
                elif running and QUOTA in refusal.text and not over:
                    continue
                else:
                    found[name] = refusal
                queued.remove(name)
            if running:
                found |= self._ended(selector, running, over=over)
                running = [name for name in running if name not in found]
            if not running and not queued:
                return found
            time.sleep(self._every)

    def _create(self, manifest: dict[str, Any]) -> Outcome | None:
        """Create a pod; what the cluster has against it is its outcome."""
        try:
            self._ask("create pods", self._api.create_namespaced_pod, self._namespace, manifest)
        except _RefusedError as refused:
            return Outcome(False, f"is refused ({refused.status}): {refused}")
        return None

    def _ended(self, selector: str, names: Sequence[str], *, over: bool) -> dict[str, Outcome]:
        """The outcomes of the pods that have one; of all pods when the time is over."""
        try:
            pods = self._pods(selector)
        except (_NoAnswerError, _RefusedError):
            if over:
                raise
            return {}  # perhaps the API server is being upgraded; the pods run on
        found = {}
        for name in names:
            if name not in pods:
                found[name] = Outcome(False, "was not checked: somebody else deleted its pod")
            elif ended := outcome(pods[name]) or (unfinished(pods[name], self._timeout) if over else None):
                found[name] = ended
        return found

    def _pods(self, selector: str) -> dict[str, dict[str, Any]]:
        """The pods with a label, as JSON data, by name."""
        call = self._api.list_namespaced_pod
        listed = self._client.sanitize_for_serialization(
            self._ask("list pods", call, self._namespace, label_selector=selector)
        )
        return {pod["metadata"]["name"]: pod for pod in listed.get("items") or ()}

    def _delete(self, name: str) -> None:
        try:
            self._ask("delete pods", self._api.delete_namespaced_pod, name, self._namespace)
        except _RefusedError as refused:
            if refused.status != 404:
                raise

    def _delete_all(self, names: Sequence[str], left: list[str]) -> None:
        for name in names:
            for remaining in reversed(range(TRIES)):
                try:
                    self._delete(name)
                    break
                except PipelineError:
                    if not remaining:
                        left.append(name)
                    else:
                        time.sleep(self._every)

    def _delete_old(self) -> None:
        """Delete what killed checks left. The deadline ends a pod only after it got a node."""
        for name, pod in self._pods(LABEL).items():
            created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
            longest = timedelta(seconds=pod["spec"].get("activeDeadlineSeconds", 0))
            if datetime.now(UTC) - created > longest + OLD:
                self._delete(name)

    def _ask(self, action: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One request.

        Raises:
            _RefusedError: the cluster refuses, for a reason other than a missing permission.
            _NoAnswerError: it does not answer.
            PipelineError: a permission is missing.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*args, **kwargs, _request_timeout=REQUEST)
        except HTTPError as error:
            raise _NoAnswerError(f"the Kubernetes API does not answer ({type(error).__name__})") from error
        except ApiException as error:
            message = _message(error)
            if error.status == 401:
                raise PipelineError("not logged in at the Kubernetes API (401)") from error
            # Kubernetes answers 403 for a policy as well; only a missing permission is worded like this.
            if error.status == 403 and re.search(r"cannot \w+ resource", message):
                problem = f"you may not {action} in {self._namespace} (403)"
                remedy = "Ask for the right to list, create and delete pods, as in the role kubeflow-edit"
                raise PipelineError(problem, remedy=remedy) from error
            raise _RefusedError(error.status, message) from error


class _NoAnswerError(PipelineError):
    """The Kubernetes API did not answer."""


class _RefusedError(PipelineError):
    """The cluster refused a request; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _message(error: Any) -> str:
    try:
        return " ".join(str(json.loads(error.body)["message"]).split())
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


@contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process as an exception, so that what is in `finally` happens."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the deletion
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
