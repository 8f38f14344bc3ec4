"""Every step's process, started as a KFP backend starts it: by its container's command.

The files in executor_inputs/ are what KFP 2.17's backend sent on a real cluster, with other addresses, small
settings, and the present names of inputs. Their input artifacts have no schema title, while KFP's local
runners always send one. Without it KFP's executor takes the class of an artifact from the annotation in the
step's signature.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from netslim.models.artifact import load_model
from netslim.results.run_results import RunResults
from netslim.steps.step_record import read_step_records
from netslim_kfp.components import readme
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.slimming.pipeline import build

FILES = {file.stem: file for file in sorted((Path(__file__).parent / "executor_inputs").glob("*.json"))}
LOGS = "executor-logs"  # an output that the backend adds to every step


def component_of(name: str) -> str:
    """`fine_tune-with-teacher` is an input of the component `fine_tune`."""
    return name.partition("-")[0]


def artifacts(side: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The artifacts in an executor input's `inputs` or `outputs`, by name."""
    return {name: listed["artifacts"][0] for name, listed in side.get("artifacts", {}).items()}


@dataclass(frozen=True)
class Result:
    """A step's process that ended: its exit code, its log, and what it wrote."""

    code: int
    log: str
    output_file: Path
    paths: dict[str, Path]  # of the output artifacts

    @property
    def output(self) -> dict[str, Any]:
        """What the backend reads when the process has ended."""
        loaded: dict[str, Any] = json.loads(self.output_file.read_text(encoding="utf-8"))
        return loaded


class Backend:
    """Starts each step once, after the steps that write its input artifacts.

    In a pod the artifact minio://bucket/key is the file /minio/bucket/key. Here it is ROOT/minio/bucket/key:
    KFP's executor takes an absolute path as an address, too, and the test writes nothing outside its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        executors = compile_pipeline(build(1), root / "pipeline.yaml")["deploymentSpec"]["executors"]
        containers = [executor["container"] for executor in executors.values()]
        self.commands = {each["args"][-1]: [*each["command"], *each["args"]] for each in containers}
        self.inputs = {
            name: json.loads(file.read_text(encoding="utf-8"), object_hook=self._under_root)
            for name, file in FILES.items()
        }
        self.writer_of = {
            artifact["uri"]: name
            for name, given in self.inputs.items()
            for artifact in artifacts(given["outputs"]).values()
        }
        self.results: dict[str, Result] = {}

    def _under_root(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "uri" in fields:
            fields["uri"] = fields["uri"].replace("minio://", f"{self.root}/minio/")
        if "outputFile" in fields:
            fields["outputFile"] = f"{self.root}{fields['outputFile']}"
        return fields

    def result(self, name: str) -> Result:
        """Run a step and the steps before it, each once; a failed one fails the test."""
        if name not in self.results:
            for artifact in artifacts(self.inputs[name]["inputs"]).values():
                self.result(self.writer_of[artifact["uri"]])
            self.results[name] = self._run(name)
        result = self.results[name]
        assert result.code == 0, f"{name} ended with exit code {result.code}:\n{result.log}"
        return result

    def _run(self, name: str) -> Result:
        given = self.inputs[name]
        # As in a pod: none of this process's variables but PATH, and a folder that is not the repository.
        environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.root),
            "TMPDIR": str(self.root),
            "KFP_RUN_ID": "run-2",
        }
        done = subprocess.run(
            [part.replace("{{$}}", json.dumps(given)) for part in self.commands[component_of(name)]],
            env=environment,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        outputs = given["outputs"]
        paths = {key: Path(artifact["uri"]) for key, artifact in artifacts(outputs).items()}
        return Result(done.returncode, done.stdout, Path(outputs["outputFile"]), paths)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    return Backend(tmp_path_factory.mktemp("backend"))


def test_every_component_has_an_executor_input() -> None:
    assert {component_of(name) for name in FILES} == set(readme.NAMES)


@pytest.mark.parametrize("name", FILES)
def test_an_executor_input_is_what_the_backend_sends_to_the_component_of_today(name: str) -> None:
    module = importlib.import_module(f"netslim_kfp.components.{component_of(name)}.component")
    spec = getattr(module, component_of(name)).component_spec
    declared = {key: value for key, value in spec.inputs.items() if str(value.type).startswith("system.")}
    required = {key for key, value in declared.items() if not value.optional}
    given = json.loads(FILES[name].read_text(encoding="utf-8"))
    received = artifacts(given["inputs"])
    # The backend sends every parameter, also one left at its default, and no artifact that is absent.
    assert set(given["inputs"]["parameterValues"]) == set(spec.inputs) - set(declared)
    assert required <= set(received) <= set(declared)
    outputs = set(artifacts(given["outputs"])) | set(given["outputs"].get("parameters", {}))
    assert outputs == {LOGS, *spec.outputs}
    for artifact in received.values():
        assert artifact.get("type", {"instanceSchema": ""}) == {"instanceSchema": ""}
        assert {"display_name", "store_session_info"} <= set(artifact["metadata"])


@pytest.mark.parametrize("name", FILES)
def test_a_step_ends_with_its_outputs_where_the_addresses_say(name: str, backend: Backend) -> None:
    result = backend.result(name)
    assert [key for key, path in result.paths.items() if key != LOGS and not path.exists()] == []
    addresses = {key: artifact["uri"] for key, artifact in artifacts(result.output).items()}
    assert addresses == {key: str(path) for key, path in result.paths.items()}


def channels(result: Result) -> list[int]:
    """The channels of each BatchNorm layer of the network that a step wrote."""
    modules = load_model(result.paths["model"]).model.modules()
    return [module.num_features for module in modules if isinstance(module, nn.BatchNorm2d)]


def test_a_training_with_a_start_goes_on_from_that_network(backend: Backend) -> None:
    fresh, pruned = channels(backend.result("train_sparse")), channels(backend.result("prune"))
    assert sum(pruned) < sum(fresh)
    assert channels(backend.result("fine_tune-with-teacher")) == pruned
    assert channels(backend.result("train_sparse-with-start")) == pruned


def test_the_last_pattern_of_a_list_decides_on_the_share_of_a_layer(backend: Backend) -> None:
    wide, slim = channels(backend.result("train_sparse")), channels(backend.result("prune"))
    kept, others = (0, 1), range(2, len(wide))  # features.1 has the share 0, features.4 is in `keep`
    assert [slim[layer] for layer in kept] == [wide[layer] for layer in kept]
    assert [slim[layer] for layer in others] == [wide[layer] - wide[layer] // 4 for layer in others]


def test_fine_tuning_distills_from_its_teacher(backend: Backend) -> None:
    # A recipe with `distill` and no teacher is refused.
    record = read_step_records(backend.result("fine_tune-with-teacher").paths["model"]).fine_tune
    assert record is not None
    assert record.metrics.recipe["distill"] == 0.5


def test_evaluate_adds_its_pass_to_the_previous_results_and_decides(backend: Backend) -> None:
    first, second = backend.result("evaluate"), backend.result("evaluate-with-previous")
    assert [row.index for row in RunResults.load(first.paths["results"]).rows] == [1]
    assert [row.index for row in RunResults.load(second.paths["results"]).rows] == [1, 2]
    assert [sorted(row.wide_latency) for row in RunResults.load(second.paths["results"]).rows] == [
        [],
        [1, 32],
    ]
    # Two passes were asked for.
    assert first.output["parameterValues"] == {"Output": True}
    assert second.output["parameterValues"] == {"Output": False}


def test_evaluate_writes_what_kfps_page_shows(backend: Backend) -> None:
    result = backend.result("evaluate-with-previous")
    assert result.paths["report"].read_text(encoding="utf-8").endswith("</html>")
    assert result.paths["summary"].read_text(encoding="utf-8").startswith("## Pass 2\n")
    shown = artifacts(result.output)["confusion"]["metadata"]["confusionMatrix"]
    assert [each["displayName"] for each in shown["annotationSpecs"]] == [str(digit) for digit in range(10)]
    rows = [row["row"] for row in shown["rows"]]
    assert sum(map(sum, rows)) == 797  # test images
    error = 100 - 100 * sum(row[k] for k, row in enumerate(rows)) / 797
    assert RunResults.load(result.paths["results"]).rows[-1].errors.test == pytest.approx(error)


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("finish")])
def test_a_step_ends_with_a_line_of_what_it_did(name: str, backend: Backend) -> None:
    last = [line for line in backend.result(name).log.splitlines() if line.startswith("netslim: ")][-1]
    assert re.search(r" done in \d+\.\d s: .*\d", last), last
