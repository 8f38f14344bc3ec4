"""The file artifacts.json of a run: which step wrote what, by paths that stay right when the folder moves."""

from __future__ import annotations

import json
from pathlib import Path

from netslim_kfp.pipelines.local.artifacts_file import ArtifactsFile, written_by

INPUTS = {
    "outputs": {
        "parameters": {"error": {"outputFile": "/out/artifacts/run/prune-2/error"}},
        "artifacts": {
            "model": {"artifacts": [{"name": "model", "uri": "/out/artifacts/run/prune-2/model"}]},
            "nothing": {"artifacts": []},
        },
        "outputFile": "/out/artifacts/run/prune-2/executor_output.json",
    }
}


def test_the_command_of_a_step_names_its_component_and_its_artifacts() -> None:
    command = ["sh", "-c", "{ some shell }", "--executor_input", json.dumps(INPUTS)]
    assert written_by(command) == ("prune-2", {"model": "/out/artifacts/run/prune-2/model"})
    assert written_by(["sh", "-c", "true"]) == ("", {})


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    folder, model = tmp_path / "out" / "key", tmp_path / "out" / "artifacts" / "run" / "prune-2" / "model"
    folder.mkdir(parents=True)
    model.mkdir(parents=True)
    file = ArtifactsFile(folder / "artifacts.json", {"prune-2": "pass 2: prune"})
    file.add("evaluate", {})
    file.add("prune-2", {"model": str(model)})
    file.add("untitled", {"onnx": str(model)})
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "key"
    found = json.loads((moved / "artifacts.json").read_text())
    assert list(found) == ["pass 2: prune", "untitled"]
    assert (moved / found["pass 2: prune"]["model"]).resolve() == tmp_path.resolve().joinpath(
        "moved", "artifacts", "run", "prune-2", "model"
    )
