"""A bundle as an MLflow model: seen in the Models tab, loaded by mlflow.pyfunc, or fetched as a folder."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from netslim.bundle.layout import MLFLOW_FILES, MODEL, SIZE_LIMITS
from netslim.results.pass_result import PassResult
from netslim.tracking.runs import PARENT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

__all__ = ["fetch_model", "has_model", "log_model", "model_id_of"]

TAG = "netslim.model"  # on a child: the SHA-256 of its ONNX file and the id of the MLflow model made of it


def log_model(client: MlflowClient, child: Run, bundle: Path, row: PassResult) -> str:
    """Make `bundle` the child's MLflow model, once, and return its id. The files stay byte for byte."""
    import mlflow.onnx
    import onnx
    from mlflow.entities import LoggedModelOutput

    known, _, model_id = child.data.tags.get(TAG, "").partition(" ")
    if known == row.onnx_sha256 and model_id:
        return str(model_id)
    proto = onnx.load(bundle / MODEL, load_external_data=False)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "model")
        # By default it would move the weights out of the file, and out of `proto` as well.
        mlflow.onnx.save_model(
            proto,
            folder,
            signature=_signature(proto),
            pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime")],
            save_as_external_data=False,
        )
        for name in SIZE_LIMITS:
            if (bundle / name).is_file():
                shutil.copyfile(bundle / name, folder / name)
        made = client.create_logged_model(
            child.info.experiment_id,
            name=child.info.run_name.replace(".", "_"),
            source_run_id=child.info.run_id,
            model_type="onnx",
            tags={"netslim.key": child.data.tags["netslim.key"], "sha256": row.onnx_sha256},
        )
        client.log_model_artifacts(made.model_id, str(folder))
    client.finalize_logged_model(made.model_id, "READY")
    output = LoggedModelOutput(made.model_id, step=row.index)
    for run_id in (child.info.run_id, child.data.tags[PARENT]):  # both pages link to it
        client.log_outputs(run_id, [output])
    client.set_tag(child.info.run_id, TAG, f"{row.onnx_sha256} {made.model_id}")
    return str(made.model_id)


def has_model(child: Run) -> bool:
    return TAG in child.data.tags


def model_id_of(child: Run) -> str:
    """The id of the child's MLflow model; empty when it has none."""
    return str(child.data.tags.get(TAG, "").partition(" ")[2])


def fetch_model(client: MlflowClient, uri: str, child: Run, folder: Path) -> Path:
    """Bring the bundle of the child's model into `folder`, without the files that MLflow laid beside it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place = client.get_logged_model(model_id_of(child)).artifact_location
    get_artifact_repository(place, tracking_uri=uri).download_artifacts("", str(folder))
    for name in MLFLOW_FILES:
        (folder / name).unlink(missing_ok=True)
    return folder


def _signature(proto: object) -> ModelSignature:
    """What the model takes and gives: float32 tensors with a free batch axis."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(values: object) -> Schema:
        return Schema(
            [
                TensorSpec(
                    np.dtype("float32"),
                    tuple(dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim),
                    value.name,
                )
                for value in values  # type: ignore[attr-defined]
            ]
        )

    return ModelSignature(schema(proto.graph.input), schema(proto.graph.output))  # type: ignore[attr-defined]
