"""What a network costs: parameters, multiply-accumulates (MACs) and FLOPs, in total and by layer.

FLOPs = 2 x MACs of the convolution and linear layers, for one example. That is the convention behind the
paper's CIFAR tables (Table 1); its VGG-A figure (Table 2) is 6 x MACs. Batch normalization, activations,
pooling, additions, and products of two activations (the matmuls inside attention) are not counted. Other
products with parameters (`x @ self.weight`, an LSTM) are not counted either, but `Cost.uncounted` names them.

Operations are counted, not modules: a module that runs twice counts twice, and `F.conv2d(x, self.weight)`
counts too. The network runs on the meta device, where tensors have a shape and no data.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.errors import ModelError
from netslim.nn._torch import DispatchMode, storage_id, tree_leaves, tree_map_only
from netslim.nn.follow_rules import own_rules
from netslim.nn.modes import eval_mode, unwrap
from netslim.nn.shape_rules import RULES

__all__ = ["Cost", "LayerCost", "count"]

_log = logging.getLogger(__name__)

aten = torch.ops.aten
# MACs: a kernel for each output value; in the transposed ones, for each input value.
_FORWARD = {aten.conv1d, aten.conv2d, aten.conv3d, aten.linear}
_TRANSPOSED = {aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d}
# Sums of products that are not counted. They are named if one of their operands is a parameter.
_UNCOUNTED = {
    *(aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot, aten.inner, aten.outer, aten.kron),
    *(aten.addmm, aten.addmv, aten.addr, aten.addbmm, aten.baddbmm, aten.chain_matmul, aten.linalg_multi_dot),
    *(aten.linalg_vecdot, aten.einsum, aten.tensordot, aten.bilinear, aten.cdist, aten.conv_tbc),
    *(aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu),
    *(aten.lstm_cell, aten.gru_cell, aten.rnn_tanh_cell, aten.rnn_relu_cell),
    *(aten.convolution, aten.scaled_dot_product_attention),
}
# Most of a run on the meta device goes into computing that the output of these has the shape of the input.
_SAME_SHAPE = {
    *(aten.batch_norm, aten.layer_norm, aten.softmax, aten.dropout, aten.gelu, aten.relu, aten.relu_),
    *(aten.hardtanh, aten.hardtanh_, aten.silu, aten.silu_, aten.hardswish, aten.hardswish_),
    *(aten.sigmoid, aten.sigmoid_, aten.hardsigmoid, aten.hardsigmoid_, aten.leaky_relu, aten.leaky_relu_),
}
_POOLED_TO_SIZE = {aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_avg_pool3d}
_BY_RULE = {
    getattr(aten, name): RULES[getattr(torch, name)]
    for name in ("conv1d", "conv2d", "conv3d", "max_pool1d", "max_pool2d", "max_pool3d")
}


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer, which is a module that owns parameters.

    Args:
        name: the path of the module; of a parameter that the whole model owns, the name of the parameter.
        params: its parameters.
        macs: for one example.
    """

    name: str
    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """A network's cost.

    Args:
        params: parameters, trainable or not, shared ones once; without buffers (running statistics).
        macs: multiply-accumulates of the convolution and linear layers, for one example.
        channels: scaling factors of batch normalization, which are the channels that pruning ranks.
        layers: every layer that has parameters, in the order of the model; their sums are the totals. MACs of
            weights that are computed at run time are listed last, as "(computed weight)".
        uncounted: products with parameters or buffers that are not in `macs`, as "operation (layer)", such as
            "matmul (head)"; sorted, each once. `macs` is too small by these.
    """

    params: int
    macs: int
    channels: int
    layers: tuple[LayerCost, ...] = ()
    uncounted: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """2 x MACs."""
        return 2 * self.macs


def count(model: nn.Module, example_input: Any) -> Cost:
    """Count the cost of one example in eval mode; the model, its mode and its statistics stay as they are.

    An auxiliary head that runs in train mode only adds parameters and no MACs.

    Args:
        model: any module; of DataParallel, DistributedDataParallel and torch.compile, the module inside.
        example_input: what the model takes: a tensor, batch first, or a tuple of arguments. The first example
            of each tensor is used.

    Raises:
        ModelError: the model does not run on `example_input`.
    """
    model = unwrap(model)
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    counter = _run_once(model, tree_map_only(Tensor, lambda value: value[:1], inputs))
    macs, params = counter.macs, Counter[str]()
    for name, parameter in model.named_parameters():
        params[_owner(name)] += parameter.numel()
    layers = [LayerCost(name, params[name], macs[name]) for name in dict.fromkeys([*params, *macs])]
    factors = (module.weight for module in model.modules() if isinstance(module, _BatchNorm))
    channels = sum(factor.numel() for factor in factors if factor is not None)
    return Cost(params.total(), macs.total(), channels, tuple(layers), tuple(sorted(counter.uncounted)))


class _Counter(DispatchMode):
    """Adds up the MACs of every convolution and linear operation, by the layer that owns its weight.

    Args:
        owners: the layer of each parameter and buffer, by `storage_id`.

    Attributes:
        macs: by layer.
        uncounted: see `Cost`.
    """

    def __init__(self, owners: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.owners = owners
        self.macs: Counter[str] = Counter()
        self.uncounted: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operation = func.overloadpacket
        if operation in _SAME_SHAPE and args[0].is_meta:
            return _without_data(args[0])
        shape = _shape(operation, args)
        result = func(*args, **(kwargs or {})) if shape is None else args[0].new_empty(shape)
        if operation in _FORWARD or operation in _TRANSPOSED:
            values, weight = args[0] if operation in _TRANSPOSED else result, args[1]
            owner = self.owners.get(storage_id(weight), "(computed weight)")
            self.macs[owner] += values.numel() * weight[0].numel()
        elif operation in _UNCOUNTED or func.namespace not in ("aten", "prim"):
            self._name_uncounted(operation, (args, kwargs))
        return result

    def _name_uncounted(self, operation: Any, operands: Any) -> None:
        """Name an operation by the layers whose parameters are among its operands."""
        for value in tree_leaves(operands):
            owner = self.owners.get(storage_id(value)) if isinstance(value, Tensor) else None
            if owner is not None:
                self.uncounted.add(f"{operation.__name__} ({owner})")


def _shape(operation: Any, args: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The shape of the result of some operations without data; None where torch is to compute it.

    torch does that in Python for these, and loads its compiler or sympy: up to a second in each process.
    """
    if not args or not isinstance(args[0], Tensor) or not args[0].is_meta:
        return None
    before = args[0].shape
    if operation in _POOLED_TO_SIZE and all(args[1]):
        return (*before[: -len(args[1])], *args[1])
    if operation is aten.linear and before[-1] == args[1].shape[-1]:
        return (*before[:-1], args[1].shape[0])
    if operation in _BY_RULE and isinstance(result := _BY_RULE[operation](*args), Tensor):
        return tuple(result.shape)
    return None


def _run_once(model: nn.Module, inputs: tuple[Any, ...]) -> _Counter:
    """Count one run: on the meta device, or with the real data if the model needs it."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    try:
        shapes = {name: _without_data(tensor) for name, tensor in tensors.items()}
        return _run(model, shapes, tree_map_only(Tensor, _without_data, inputs))
    except (RuntimeError, TypeError, ModelError) as error:
        # torch raises these for control flow that reads values, and for tensors outside of the state; a rule
        # of the user's own (`netslim.nn.own_rules`) raises ModelError.
        _log.debug("counted with real data, because the run without data failed: %s", error)
    except Exception:
        _log.warning("counted with real data, because the run without data failed", exc_info=True)
    try:
        return _run(model, tensors, inputs)
    except ModelError:
        raise
    except Exception as error:
        given = ", ".join(str(tuple(value.shape)) for value in inputs if isinstance(value, Tensor))
        remedy = "Give an input of the shape and dtype that the model takes"
        problem = f"the model does not run on it ({error})"
        raise ModelError(problem, field="example_input", value=given, remedy=remedy) from error


def _without_data(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _run(model: nn.Module, tensors: dict[str, Tensor], inputs: tuple[Any, ...]) -> _Counter:
    counter = _Counter({storage_id(tensor): _owner(name) for name, tensor in tensors.items()})
    with eval_mode(model), _unfused_attention(), torch.inference_mode(), counter, own_rules(model):
        # Inference mode keeps conv2d and linear as one operation.
        functional_call(model, tensors, inputs)
    return counter


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Attention is computed by its linear layers, which are counted, and not by one fused kernel."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _owner(parameter: str) -> str:
    """The layer of a parameter: its module, or the parameter itself if the whole model owns it."""
    return parameter.rpartition(".")[0] or parameter
