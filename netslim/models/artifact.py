"""The model artifact: a folder with architecture.json, weights.safetensors and SHA256SUMS, and no pickle.

The architecture builds the wide network, the plan slims it, and the weights must fit the result: each name,
shape and type.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from netslim.errors import DataError, ModelError
from netslim.models.architecture import Architecture
from netslim.models.factory import build, is_foreign
from netslim.nn.channel_select import names_without_wrapper
from netslim.pruning.apply_plan import apply_plan
from netslim.pruning.plan import Plan
from netslim.storage.atomic import atomic_directory, read_json, sha256, write_json
from netslim.storage.digests import check_digests, write_digests

__all__ = ["StoredModel", "load_model", "save_model"]

FORMAT = "netslim model 1"
DESCRIPTION, WEIGHTS = "architecture.json", "weights.safetensors"
REMEDY = "Make the model again with the step that wrote it"


@dataclass(frozen=True)
class StoredModel:
    """A network read from an artifact (in eval mode, on the CPU), with its architecture and its plan."""

    model: nn.Module
    architecture: Architecture
    plan: Plan


def save_model(
    directory: str | os.PathLike[str],
    model: nn.Module,
    architecture: Architecture,
    plan: Plan,
    *,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the artifact; `directory` appears complete or not at all, and the model is not changed.

    Args:
        model: the slim network, on any device.
        architecture: builds the wide network from which the model was slimmed.
        plan: the composed plan from wide to slim; `Plan.empty()` for a wide network.
        beside: JSON documents by file name, written to the same folder; `load_model` does not read them.

    Raises:
        ModelError: the model's state contains something else than tensors.
        StorageError: the disk refused an operation.
    """
    tensors, tied = _separate(model.state_dict())
    with atomic_directory(directory) as draft:
        save_file(tensors, draft / WEIGHTS)
        description = {
            "format": FORMAT,
            "architecture": architecture.to_json(),
            "plan": plan.to_json(),
            "tied": tied,
            "sha256": sha256(draft / WEIGHTS),
        }
        write_json(draft / DESCRIPTION, description)
        for name, document in beside.items():
            write_json(draft / name, document)
        write_digests(draft)


def load_model(directory: str | os.PathLike[str], *, allow_factory: str | bool = False) -> StoredModel:
    """Build the wide network, slim it by the plan, and fill in the weights.

    torch's global random generator is not changed.

    Args:
        directory: the artifact.
        allow_factory: the factory that may be imported and called if it is neither netslim's nor
            torchvision's, such as "my_package.networks:small". It is Python code, which the artifact only
            names. True allows any.

    Raises:
        ModelError: a file is missing, truncated, altered or of another format, the factory cannot be called,
            or the weights do not fit the network.
    """
    folder = Path(directory)
    check_digests(folder, error=ModelError)
    description = _description(folder)
    architecture = Architecture.from_json(description["architecture"])
    _check_factory(folder / DESCRIPTION, architecture.factory, allow_factory)
    plan = Plan.from_json(description["plan"])
    weights = _weights(folder / WEIGHTS, description["sha256"])
    weights |= {alias: weights[name] for alias, name in description["tied"].items() if name in weights}
    with torch.random.fork_rng(devices=[]):
        model = apply_plan(build(architecture), plan)
    weights = names_without_wrapper(model, weights)
    _check_fit(model.state_dict(), weights, folder)
    model.load_state_dict(weights)
    return StoredModel(model.eval(), architecture, plan)


def _check_factory(file: Path, factory: str, allowed: str | bool) -> None:
    if allowed is True or not is_foreign(factory) or factory == allowed:
        return
    problem = f"the model is built by the Python code {factory}, which is not allowed to run"
    remedy = f"If you trust that code, load the model with allow_factory={factory!r}"
    if allowed:
        remedy = f"Only {allowed} is allowed: take the model of the same run"
    raise ModelError(problem, field=str(file), remedy=remedy)


def _separate(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors for safetensors (contiguous, sharing no memory), and the names that share another's tensor."""
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            remedy = "Only parameters and buffers can be stored"
            raise ModelError(f"its state is a {type(value).__name__}", field=name, remedy=remedy)
        memory = (value.device, value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if value.numel() and memory in seen:
            tied[name] = seen[memory]
            continue
        seen[memory] = name
        tensors[name] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return tensors, tied


def _description(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION
    try:
        description = read_json(file)
    except DataError as error:
        raise ModelError(error.problem, field=str(file), remedy=error.remedy) from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        name = description.get("format") if isinstance(description, dict) else None
        problem = f"not a model of this version of netslim ({name!r}, not {FORMAT!r})"
        raise ModelError(problem, field=str(file), remedy=REMEDY)
    kinds = {"architecture": dict, "plan": dict, "sha256": str, "tied": dict}
    missing = [name for name, kind in kinds.items() if not isinstance(description.get(name), kind)]
    if missing:
        raise ModelError(f"lacks {', '.join(missing)}", field=str(file), remedy=REMEDY)
    return description


def _weights(file: Path, expected: str) -> dict[str, Tensor]:
    try:
        if sha256(file) != expected:
            problem = "truncated or altered: its SHA-256 is not the one in architecture.json"
            raise ModelError(problem, field=str(file), remedy=REMEDY)
        return load_file(file)  # type: ignore[no-any-return]
    except FileNotFoundError as error:
        raise ModelError("no such file", field=str(file), remedy=REMEDY) from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"cannot be read ({error})", field=str(file), remedy=REMEDY) from error


def _check_fit(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], folder: Path) -> None:
    def kind(tensor: Tensor) -> str:
        return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"

    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{name} is not in the network" for name in weights if name not in expected]
    faults += [
        f"{name} is {kind(weights[name])}, not {kind(tensor)}"
        for name, tensor in expected.items()
        if name in weights and kind(weights[name]) != kind(tensor)
    ]
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        remedy = "The factory, its arguments or its code changed since, or the plan is another model's"
        raise ModelError(f"the weights do not fit the network: {shown}", field=str(folder), remedy=remedy)
