"""A small Kubernetes with Kubeflow Trainer in it: it takes TrainJobs as Trainer's own models define them,
unknown fields refused, and runs their nodes as processes of this machine, with the variables that Trainer's
plugin for PyTorch sets. When a node is lost it starts all again, once; manifests/trainer has it three times.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubeflow_trainer_api import models

from tests.helpers.kubernetes_pods import NAMESPACE, PODS, Pods, RefusedError
from tests.helpers.processes import free_port

__all__ = ["NAMESPACE", "Kubernetes", "serving"]

TRAINJOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
FOR_GOOD = (2, 3, 4, 5, 7, 10)  # exit codes after which a node is not started again


@dataclass
class Job:
    """A TrainJob and the processes that are its nodes."""

    body: dict[str, Any]
    log: Path
    settings: dict[str, dict[str, str]]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    starts: int = 0

    def start(self) -> None:
        trainer = self.body["spec"]["trainer"]
        port = free_port()
        self.starts += 1
        self.nodes = []
        for rank in range(trainer["numNodes"]):
            rendezvous = {
                "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(port),
            }
            own = {each["name"]: self._value(each) for each in trainer["env"]}
            plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
            command = [sys.executable, *trainer["command"][1:]]
            watched = {"OMP_NUM_THREADS": "1", "NETSLIM_PROGRESS": str(self.log / f"progress-{rank}")}
            environment = {**plain, **watched, **own, **rendezvous}
            with open(self.log / f"node-{rank}.log", "ab") as log:
                self.nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def _value(self, variable: dict[str, Any]) -> str:
        if "value" in variable:
            return str(variable["value"])
        ((_, reference),) = variable["valueFrom"].items()
        return self.settings[reference["name"]][reference["key"]]

    def status(self) -> dict[str, Any]:
        codes = [node.poll() for node in self.nodes]
        if all(code == 0 for code in codes):
            return _condition("Complete", "all nodes have ended well")
        if not any(codes):
            active = {"name": "node", "active": 1, "ready": 1, "succeeded": 0, "failed": 0, "suspended": 0}
            return {"jobsStatus": [active]}
        self.end()
        if self.starts == 1 and not set(codes) & set(FOR_GOOD):
            self.start()
            return {}
        return _condition("Failed", f"exit codes {codes}")

    def end(self) -> None:
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            try:
                node.wait(60)
            except subprocess.TimeoutExpired:
                node.kill()


def _condition(kind: str, message: str) -> dict[str, Any]:
    when = "2026-01-01T00:00:00Z"
    about = {"reason": "JobsEnded", "message": message, "lastTransitionTime": when}
    return {"conditions": [{"type": kind, "status": "True", **about}]}


@dataclass
class Kubernetes:
    """What the cluster holds, and how it behaves."""

    log: Path
    pods: Pods = field(default_factory=Pods)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    """ConfigMaps and Secrets by name."""
    faults: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    refuses: tuple[int, str] | None = None
    """Status and message for whoever asks for a TrainJob."""
    jobs: dict[str, Job] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Every TrainJob that was created."""
    deleted: list[str] = field(default_factory=list)
    kubeconfig: Path = Path()
    lock: Lock = field(default_factory=Lock)

    def answer(self, method: str, path: str, body: Any, selector: str = "") -> dict[str, Any]:
        if self.faults:
            raise RefusedError(self.faults.pop(0), "etcd has a bad day")
        name = path.rpartition("/")[2]
        if path.startswith(PODS):
            return self.pods.answer(method, path, body, selector)
        if not path.startswith(TRAINJOBS):
            raise RefusedError(404, "the server could not find the requested resource")
        if self.refuses:
            raise RefusedError(*self.refuses)
        if method == "POST":
            return self._create(body)
        if name not in self.jobs:
            raise RefusedError(404, f'trainjobs "{name}" not found')
        if method == "DELETE":
            self.deleted.append(name)
            self.jobs.pop(name).end()
            return {}
        job = self.jobs[name]
        return {**job.body, "status": job.status()}

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["metadata"]["name"]
        if name in self.jobs:
            raise RefusedError(409, f'trainjobs "{name}" already exists')
        assert models.TrainerV1alpha1TrainJob.from_dict(body).to_dict() == body, "fields that Trainer lacks"
        self.asked.append(body)
        self.jobs[name] = Job(body, self.log, self.settings)
        self.jobs[name].start()
        return body


@contextmanager
def serving(folder: Path) -> Iterator[Kubernetes]:
    """A cluster of its own, which KUBECONFIG in `folder` leads to."""
    cluster = Kubernetes(folder)

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            try:
                with cluster.lock:
                    url = urlsplit(self.path)
                    selector = parse_qs(url.query).get("labelSelector", [""])[0]
                    status, answer = 200, cluster.answer(self.command, url.path, body, selector)
            except RefusedError as refusal:
                status, answer = refusal.status, {"kind": "Status", "message": refusal.message}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do  # noqa: N815 (http.server's names)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    cluster.kubeconfig = folder / "kubeconfig"
    here = {"server": f"http://127.0.0.1:{server.server_port}"}
    cluster.kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "here", "cluster": here}],
                "users": [{"name": "step", "user": {"token": "secret"}}],
                "contexts": [{"name": "c", "context": {"cluster": "here", "user": "step"}}],
                "current-context": "c",
            }
        )
    )
    try:
        yield cluster
    finally:
        server.shutdown()
        for job in cluster.jobs.values():
            for node in job.nodes:
                if node.poll() is None:
                    node.send_signal(signal.SIGKILL)
