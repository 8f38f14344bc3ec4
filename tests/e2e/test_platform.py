"""A pipeline compiled for a cluster, with GPUs and all, runs here as it is: one file everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netslim import tracking
from netslim_kfp.pipelines.cluster.platform import placed_on
from netslim_kfp.pipelines.cluster.profiles import load
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.run_config import RunConfig
from netslim_kfp.pipelines.slimming.pipeline import build


@pytest.mark.slow
def test_the_clusters_file_runs_here(tmp_path: Path) -> None:
    few = {"epochs": 1}
    config = RunConfig(passes=1, sparse=few, tune=few, max_error_increase=100)
    # Without the baseline, whose steps are the same as those of a pass.
    pipeline = build(1, baseline=False, place=placed_on(load(gpus=8)))
    compile_pipeline(pipeline, tmp_path / "cluster.yaml")
    request = {
        "ir": str(tmp_path / "cluster.yaml"),
        "arguments": config.pipeline_arguments(),
        "titles": {},
        "root": str(tmp_path / "artifacts"),
        "workspace": str(tmp_path / "workspace"),
        "cache": False,
        "runner": "subprocess",
        "environment": {},
    }
    (tmp_path / "run.json").write_text(json.dumps(request))
    uri = tracking.default_uri(tmp_path)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "NETSLIM_RUN_KEY": "of-the-cluster"}
    done = subprocess.run(
        [sys.executable, "-m", "netslim_kfp.pipelines.local.worker", str(tmp_path / "run.json")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = tracking.read_run(uri, config.experiment, "of-the-cluster")
    assert found.status == "FINISHED"
    assert [row.index for row in found.results.rows] == [1]
