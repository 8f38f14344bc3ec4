"""A real MLflow server in a process of its own, with its REST API as a user's script calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.helpers.processes import environment_without, free_port, wait_until

__all__ = ["MlflowServer"]

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Otherwise the server starts 8 processes for MLflow's own jobs, which netslim does not use."""


class MlflowServer:
    """`mlflow server` with SQLite and proxied artifacts; it can be killed and started again.

    Args:
        folder: for the database `mlflow.db`, which may exist, and the log.
        artifacts: where the server keeps artifacts; a folder of its own by default.
        environment: variables that the server's process gets and its clients do not.
    """

    def __init__(
        self, folder: Path, *, artifacts: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.artifacts = artifacts or str(folder / "artifacts")
        self.environment = dict(environment or {})
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"),
            *("--artifacts-destination", self.artifacts),
        ]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment_without("MLFLOW_") | NO_JOBS | self.environment,
                cwd=self.folder,
            )
        wait_until(self._healthy, f"the server answers; its log is {log.name}", seconds=180)

    def _healthy(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """GET, or POST with a body, of one REST method: `call("runs/get?run_id=...")`."""
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def experiment(self, name: str) -> str:
        return self.call(f"experiments/get-by-name?experiment_name={name}")["experiment"]["experiment_id"]

    def runs(self, experiment: str, key: str) -> dict[str, Any]:
        """The runs of one pipeline run by their names; two of one name are an error."""
        body = {"experiment_ids": [self.experiment(experiment)], "filter": f"tags.`netslim.run` = '{key}'"}
        runs = self.call("runs/search", body).get("runs", [])
        names = [run["info"]["run_name"] for run in runs]
        assert len(set(names)) == len(names), names
        return dict(zip(names, runs, strict=True))

    def models(self, experiment: str, key: str) -> Any:
        """The MLflow models of one pipeline run."""
        of_the_run = f"tags.`netslim.key` LIKE '{key}/%'"
        body = {"experiment_ids": [self.experiment(experiment)], "filter": of_the_run}
        return self.call("logged-models/search", body)["models"]

    def history(self, run: Any, metric: str) -> list[tuple[int, float, int]]:
        """(step, value, timestamp) of a metric's points, in the order of steps."""
        path = f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric}"
        points = self.call(path).get("metrics", [])
        return sorted((int(p.get("step", 0)), p["value"], int(p["timestamp"])) for p in points)
