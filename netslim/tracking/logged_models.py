"""A bundle as an MLflow model: shown in the Models tab, loaded by mlflow.pyfunc, downloaded as a folder."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from netslim.bundle.layout import MLFLOW_FILES, MODEL, SIZE_LIMITS
from netslim.results.pass_result import PassResult
from netslim.tracking.client import time_to_store
from netslim.tracking.names import KEY_TAG, MODEL_TAG, PARENT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

__all__ = ["fetch_bundle", "has_model", "log_model", "model_id_of"]


def log_model(client: MlflowClient, child: Run, bundle: Path, result: PassResult) -> str:
    """Make `bundle` the child's MLflow model, unless it is, and return the model's id.

    The files of the bundle are uploaded byte for byte.
    """
    import mlflow.onnx
    import onnx
    from mlflow.entities import LoggedModelOutput

    logged_sha256, _, model_id = child.data.tags.get(MODEL_TAG, "").partition(" ")
    if logged_sha256 == result.onnx_sha256 and model_id:
        return str(model_id)
    proto = onnx.load(bundle / MODEL, load_external_data=False)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "model")
        # By default MLflow moves the weights into a file beside, and removes them from `proto`, too.
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
        model = client.create_logged_model(
            child.info.experiment_id,
            name=child.info.run_name.replace(".", "_"),
            source_run_id=child.info.run_id,
            model_type="onnx",
            tags={KEY_TAG: child.data.tags[KEY_TAG], "sha256": result.onnx_sha256},
        )
        with time_to_store(max(file.stat().st_size for file in folder.iterdir())):
            client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    output = LoggedModelOutput(model.model_id, step=result.index)
    for run_id in (child.info.run_id, child.data.tags[PARENT_TAG]):  # both pages link to the model
        client.log_outputs(run_id, [output])
    client.set_tag(child.info.run_id, MODEL_TAG, f"{result.onnx_sha256} {model.model_id}")
    return str(model.model_id)


def has_model(child: Run) -> bool:
    return MODEL_TAG in child.data.tags


def model_id_of(child: Run) -> str:
    """The id of the child's MLflow model; empty when it has none."""
    return str(child.data.tags.get(MODEL_TAG, "").partition(" ")[2])


def fetch_bundle(client: MlflowClient, uri: str, child: Run, folder: Path) -> Path:
    """Download the bundle in the child's model into `folder`, without the files that MLflow added to it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    location = client.get_logged_model(model_id_of(child)).artifact_location
    get_artifact_repository(location, tracking_uri=uri).download_artifacts("", str(folder))
    for name in MLFLOW_FILES:
        (folder / name).unlink(missing_ok=True)
    return folder


def _signature(proto: object) -> ModelSignature:
    """The inputs and outputs of the ONNX model: float32 tensors with a batch axis of any size."""
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
