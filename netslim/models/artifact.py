"""The model artifact: a folder with architecture.json, weights.safetensors and SHA256SUMS, and no pickle.

The architecture builds the wide network (or the caller does), the plan slims it, and the weights must fit the
result: each name, shape and type. A program of torch.export may lie beside them, in program.pt2.
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
from netslim.models.factory import build, is_user_code
from netslim.models.program import PROGRAM, write_program
from netslim.models.stored_tensors import check_tensors, tensors_to_store
from netslim.nn.channel_select import names_without_wrapper
from netslim.nn.modes import unwrap
from netslim.pruning.apply_plan import apply_plan
from netslim.pruning.check_slimmed import check_slimmed
from netslim.pruning.plan import Plan
from netslim.storage.atomic import atomic_directory, read_json, sha256, write_json
from netslim.storage.digests import check_digests, write_digests

__all__ = ["StoredModel", "load_model", "save", "save_model"]

FORMAT = "netslim model 1"
DESCRIPTION, WEIGHTS = "architecture.json", "weights.safetensors"
REMEDY = "Make the model again with the step that wrote it"


@dataclass(frozen=True)
class StoredModel:
    """A network read from an artifact (in eval mode), with its plan, and its architecture if it has one."""

    model: nn.Module
    architecture: Architecture | None
    plan: Plan


def save(
    directory: str | os.PathLike[str],
    model: nn.Module,
    plan: Plan,
    *,
    architecture: Architecture | None = None,
    example_input: Any = None,
) -> None:
    """Write a slim network as a folder, without pickle: plan and weights, and a program if asked for.

        netslim.save("slim", result.model, result.plan, example_input=images)

        netslim.load_model("slim", MyNet()).model            # with the class: trains further
        torch.export.load("slim/program.pt2").module()       # with PyTorch alone: does not train

    `directory` appears complete or not at all; an existing one is replaced. The model is not changed.

    Args:
        model: the slim network, on any device, in any mode, also in DataParallel or torch.compile.
        plan: from the wide network to the slim one. After several passes, compose their plans:
            `first.plan.then(second.plan)`.
        architecture: builds the wide network, so that `load_model` needs no `model`.
        example_input: as for `prune`. With it, `program.pt2` is written as well: the program of the network
            in eval mode, on the CPU, checked to give the same results at batch sizes 1, 2 and 7. Its batch
            size is free, all other sizes are those of the example. It contains the weights a second time.

    Raises:
        ModelError: the model's state contains something else than tensors, the plan leads to another network,
            or torch.export cannot make a program of it.
        StorageError: the disk refused an operation.
    """
    model = unwrap(model)
    check_slimmed(model, plan)
    save_model(directory, model, architecture, plan, example_input=example_input)


def save_model(
    directory: str | os.PathLike[str],
    model: nn.Module,
    architecture: Architecture | None,
    plan: Plan,
    *,
    beside: Mapping[str, Any] = MappingProxyType({}),
    example_input: Any = None,
) -> None:
    """Write the artifact; `directory` appears complete or not at all, and the model is not changed.

    Args:
        model: the slim network, on any device.
        architecture: builds the wide network from which the model was slimmed; None if nothing does.
        plan: the composed plan from wide to slim; `Plan.empty()` for a wide network.
        beside: JSON documents by file name, written to the same folder; `load_model` does not read them.
        example_input: if it is given, the program is written, see `write_program`.

    Raises:
        ModelError: the model's state contains something else than tensors, or its program cannot be written.
        StorageError: the disk refused an operation.
    """
    tensors, tied = tensors_to_store(model.state_dict())
    with atomic_directory(directory) as draft:
        if example_input is not None:
            write_program(draft / PROGRAM, model, example_input)
        save_file(tensors, draft / WEIGHTS)
        description = {
            "format": FORMAT,
            "architecture": None if architecture is None else architecture.to_json(),
            "plan": plan.to_json(),
            "tied": tied,
            "sha256": sha256(draft / WEIGHTS),
        }
        write_json(draft / DESCRIPTION, description)
        for name, document in beside.items():
            write_json(draft / name, document)
        write_digests(draft)


def load_model(
    directory: str | os.PathLike[str],
    model: nn.Module | None = None,
    *,
    allow_factory: str | bool = False,
) -> StoredModel:
    """Slim the wide network by the plan of an artifact, and fill in the weights.

    torch's global random generator is not changed.

    Args:
        directory: what `netslim.save` or a step of a run wrote.
        model: the wide network, as it was before pruning, with any weights. It is copied, not changed, and
            the result is on its device. None: the factory that the artifact names builds it, on the CPU.
        allow_factory: the factory that may be imported and called if it is neither netslim's nor
            torchvision's, such as "my_package.networks:small". It is Python code, which the artifact only
            names. True allows any.

    Raises:
        ModelError: a file is missing, truncated, altered or of another format, the factory cannot be called,
            there is none and no `model`, or the weights do not fit the network.
    """
    folder = Path(directory)
    check_digests(folder, error=ModelError)
    description = _description(folder)
    stored = description["architecture"]
    architecture = None if stored is None else Architecture.from_json(stored)
    plan = Plan.from_json(description["plan"])
    weights = _weights(folder / WEIGHTS, description["sha256"])
    weights |= {alias: weights[name] for alias, name in description["tied"].items() if name in weights}
    with torch.random.fork_rng(devices=[]):
        if model is None:
            wide = build(_callable(architecture, folder, allow_factory))
        else:
            wide = _with_values(unwrap(model))
        slim = apply_plan(wide, plan)
    weights = names_without_wrapper(slim, weights)
    check_tensors(slim.state_dict(), weights, folder)
    slim.load_state_dict(weights)
    return StoredModel(slim.eval(), architecture, plan)


def _callable(architecture: Architecture | None, folder: Path, allow_factory: str | bool) -> Architecture:
    """The architecture, if there is one and its factory may be called."""
    file = str(folder / DESCRIPTION)
    if architecture is None:
        remedy = f"Give the network as it was before pruning: netslim.load_model({str(folder)!r}, MyNet())"
        if (folder / PROGRAM).is_file():
            remedy += f"; or run its program: torch.export.load({str(folder / PROGRAM)!r}).module()"
        raise ModelError("the model was saved without a factory", field=file, remedy=remedy)
    _check_factory(folder / DESCRIPTION, architecture.factory, allow_factory)
    return architecture


def _with_values(model: nn.Module) -> nn.Module:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            remedy = "Make the network on the CPU or a GPU, not on torch.device('meta')"
            raise ModelError(f"{name} has no values", field="model", remedy=remedy)
    return model


def _check_factory(file: Path, factory: str, allowed: str | bool) -> None:
    if allowed is True or not is_user_code(factory) or factory == allowed:
        return
    problem = f"the model is built by the Python code {factory}, which is not allowed to run"
    remedy = f"If you trust that code, load the model with allow_factory={factory!r}"
    if allowed:
        remedy = f"Only {allowed} is allowed: take the model of the same run"
    raise ModelError(problem, field=str(file), remedy=remedy)


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
    kinds: dict[str, Any] = {"architecture": (dict, type(None)), "plan": dict, "sha256": str, "tied": dict}
    missing = [name for name, kind in kinds.items() if not isinstance(description.get(name, 0), kind)]
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
