"""What a network costs: parameters, multiply-accumulates (MACs) and FLOPs, in total and by layer.

FLOPs = 2 x MACs of the convolution and linear layers, for one example. That is the convention behind the
paper's CIFAR tables (Table 1); its VGG-A figure (Table 2) is 6 x MACs. Batch normalization, activations,
pooling, additions, and products of two activations (the matmuls inside attention) are not counted.

Operations are watched, not modules: a module that runs twice counts twice, and `F.conv2d(x, self.weight)`
counts too. The network runs on the meta device, where tensors have a shape and no data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.errors import ModelError
from netslim.nn._torch import TorchDispatchMode, storage_id, tree_map_only
from netslim.nn.modes import eval_mode, unwrap

__all__ = ["Cost", "LayerCost", "count"]

aten = torch.ops.aten
# Each output value of these is one sum of products; each input value of the transposed ones is spread.
_FORWARD = {aten.conv1d, aten.conv2d, aten.conv3d, aten.linear}
_TRANSPOSED = {aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d}
# Most of a run on the meta device goes into deriving, in Python, that these leave a shape as it is.
_SHAPELESS = {
    *(aten.batch_norm, aten.layer_norm, aten.softmax, aten.dropout, aten.gelu, aten.relu, aten.relu_),
    *(aten.hardtanh, aten.hardtanh_, aten.silu, aten.silu_, aten.hardswish, aten.hardswish_),
    *(aten.sigmoid, aten.sigmoid_, aten.hardsigmoid, aten.hardsigmoid_, aten.leaky_relu, aten.leaky_relu_),
}


@dataclass(frozen=True)
class LayerCost:
    """One layer's share: a module that owns parameters, by name. `macs` is for one example."""

    name: str
    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """A network's cost.

    Args:
        params: parameters, trainable or not, shared ones once. Buffers (running statistics) are none.
        macs: multiply-accumulates of the convolution and linear layers, for one example.
        channels: scaling factors of batch normalization, which is what slimming ranks.
        layers: every layer that has parameters, in the order of the model; their sums are the totals. A
            weight that is computed anew each time is nobody's parameter, and its MACs stand last.
    """

    params: int
    macs: int
    channels: int
    layers: tuple[LayerCost, ...] = ()

    @property
    def flops(self) -> int:
        """2 x MACs."""
        return 2 * self.macs


def count(model: nn.Module, example_input: Any) -> Cost:
    """Count the cost of one example in eval mode; the model, its mode and its statistics stay as they are.

    An auxiliary head that runs in train mode only has parameters here and no MACs. Neither has MACs what
    multiplies by parameters in another way than a convolution or linear layer (`x @ self.weight`, an LSTM).

    Args:
        model: any module; of DataParallel, DistributedDataParallel and torch.compile, the module inside.
        example_input: what the model takes: a tensor (batch first; its first example counts), or a tuple.

    Raises:
        ModelError: the model does not run on `example_input`.
    """
    model = unwrap(model)
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    macs = _macs(model, tree_map_only(Tensor, lambda value: value[:1], inputs))
    params: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        params[_owner(name)] += parameter.numel()
    layers = [LayerCost(name, params[name], macs[name]) for name in dict.fromkeys([*params, *macs])]
    factors = (module.weight for module in model.modules() if isinstance(module, _BatchNorm))
    channels = sum(factor.numel() for factor in factors if factor is not None)
    return Cost(params.total(), macs.total(), channels, tuple(layers))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the MACs of every convolution and linear operation, by the owner of its weight."""

    def __init__(self, owners: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.owners = owners
        self.macs: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kind = func.overloadpacket
        if kind in _SHAPELESS and args[0].is_meta:
            return torch.empty_like(args[0])
        result = func(*args, **(kwargs or {}))
        if kind in _FORWARD or kind in _TRANSPOSED:
            values, weight = args[0] if kind in _TRANSPOSED else result, args[1]
            owner = self.owners.get(storage_id(weight), "(computed weight)")
            self.macs[owner] += values.numel() * weight[0].numel()
        return result


def _macs(model: nn.Module, inputs: tuple[Any, ...]) -> Counter[str]:
    """The MACs of one run by layer: on the meta device, or for real where the model needs the numbers."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    try:
        shapes = {name: _shape_of(tensor) for name, tensor in tensors.items()}
        return _run(model, shapes, tree_map_only(Tensor, _shape_of, inputs))
    except Exception:  # control flow that looks at values, tensors kept outside the state: run it for real
        try:
            return _run(model, tensors, inputs)
        except Exception as error:
            given = ", ".join(str(tuple(value.shape)) for value in inputs if isinstance(value, Tensor))
            remedy = "Give an input of the shape and dtype that the model takes"
            problem = f"the model does not run on it ({error})"
            raise ModelError(problem, field="example_input", value=given, remedy=remedy) from error


def _shape_of(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _run(model: nn.Module, tensors: dict[str, Tensor], inputs: tuple[Any, ...]) -> Counter[str]:
    watch = _Watch({storage_id(tensor): _owner(name) for name, tensor in tensors.items()})
    with eval_mode(model), _unfused_attention(), torch.inference_mode(), watch:
        # Inference mode keeps conv2d and linear whole.
        functional_call(model, tensors, inputs)
    return watch.macs


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Attention computed by its linear layers, which are counted, and not by one fused kernel."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _owner(parameter: str) -> str:
    """The layer of a parameter: its module, or the parameter itself where the whole model owns it."""
    return parameter.rpartition(".")[0] or parameter
