"""All private functions of torch that netslim calls. Read this file when torch is upgraded.

Beside each entry is the reason why the public function does not serve. Where it is as fast, netslim uses it:
`torch.cpu.get_capabilities`, `torch.nn.utils.get_total_norm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C import DisableTorchFunctionSubclass
from torch._library.custom_ops import CustomOpDef
from torch._ops import OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = [
    "FORWARD_CODE_OF_LAYERS",
    "DisableTorchFunctionSubclass",
    "DispatchMode",
    "convolves_itself",
    "foreach_abs",
    "foreach_add_",
    "foreach_clamp_max",
    "foreach_clamp_max_",
    "foreach_clamp_min_",
    "foreach_copy_",
    "foreach_div",
    "foreach_mul_",
    "foreach_sign",
    "foreach_sub_",
    "fused_sgd_",
    "has_hooks",
    "operator_of",
    "softshrink_",
    "storage_id",
    "sync_batchnorm_on_gpu",
    "tensor_without_data",
    "tree_leaves",
    "tree_map_only",
    "without_function_modes",
]

# Imported above: torch's documentation of tensor subclasses and dispatch modes uses `TorchDispatchMode` and
# `DisableTorchFunctionSubclass` under these names. `tree_leaves` and `tree_map_only` walk nested lists,
# tuples and dicts; torch has no public function for it.

T = TypeVar("T", bound=Tensor)
_META = torch.device("meta")

# Where torch.nn calls a function with the weight and the bias of a convolution or linear layer. A convolution
# calls it in a method of its own.
FORWARD_CODE_OF_LAYERS = {
    torch.nn.Linear.forward.__code__,
    *(kind._conv_forward.__code__ for kind in (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)),
    torch.nn.ConvTranspose1d.forward.__code__,
    torch.nn.ConvTranspose2d.forward.__code__,
    torch.nn.ConvTranspose3d.forward.__code__,
}


def convolves_itself(layer: nn.Module) -> bool:
    """Whether a convolution calls torch's own method: it can be replaced in a layer, or in its class."""
    method = getattr(type(layer), "_conv_forward", None)
    return "_conv_forward" not in vars(layer) and getattr(method, "__code__", None) in FORWARD_CODE_OF_LAYERS


# `torch.optim.SGD(fused=True)` calls this kernel, with the same result to the bit. Its import loads torch's
# compiler: 900 modules, two seconds per process. The step itself takes twice as long on small networks.
fused_sgd_ = torch._fused_sgd_

# One kernel launch for all tensors of a list. There is no public function; `torch.optim` uses the same ones.
foreach_abs = torch._foreach_abs
foreach_add_ = torch._foreach_add_
foreach_clamp_max = torch._foreach_clamp_max
foreach_clamp_max_ = torch._foreach_clamp_max_
foreach_clamp_min_ = torch._foreach_clamp_min_
foreach_copy_ = torch._foreach_copy_
foreach_div = torch._foreach_div
foreach_mul_ = torch._foreach_mul_
foreach_sign = torch._foreach_sign
foreach_sub_ = torch._foreach_sub_


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that does not load torch's compiler.

    `TorchDispatchMode` hides `__torch_dispatch__` from the compiler, for which its first call imports that:
    a second of CPU time per process, and messages of Triton at its end. Nothing is compiled in these modes.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def without_function_modes(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """Call a function without the `TorchFunctionMode`s of this thread.

    torch's own context manager, which leaves one of them, takes 4 microseconds, as much as it would save.
    """
    modes = [torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())]
    try:
        return function(*args, **kwargs)
    finally:
        while modes:
            torch._C._push_on_torch_function_stack(modes.pop())


def softshrink_(values: Tensor, threshold: float) -> None:
    """Soft-threshold `values` in place: v becomes sign(v) * max(|v| - threshold, 0).

    `values.copy_(torch.nn.functional.softshrink(...))` takes twice as long: 13 instead of 6 microseconds for
    a layer of 128 factors on a CPU.
    """
    torch._C._nn.softshrink(values, threshold, out=values)  # type: ignore[call-arg]


def has_hooks(module: nn.Module) -> bool:
    """Whether Python functions are called before or after a module. torch registers hooks, but lists none."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name, None) for name in names)


def operator_of(value: Any) -> Any:
    """The operator that a value is, or is an overload or a definition of; None for anything else.

    `torch.ops` and `torch.library.custom_op` return objects of these classes, which have no public names.
    """
    if isinstance(value, CustomOpDef):
        value = value._opoverload
    if isinstance(value, OpOverload):
        value = value.overloadpacket
    return value if isinstance(value, OpOverloadPacket) else None


def sync_batchnorm_on_gpu(*arguments: Any) -> Any:
    """Normalise a batch that is spread over the GPUs of all processes, with gradients.

    `torch.nn.SyncBatchNorm` calls this function, but it is a module: the model's own BatchNorm modules would
    have to be replaced.

    Args:
        arguments: images, weight, bias, running_mean, running_var, eps, momentum.
    """
    from torch.nn.modules._functions import SyncBatchNorm

    return SyncBatchNorm.apply(*arguments, dist.group.WORLD, dist.get_world_size())


def tensor_without_data(cls: type[T], shape: Iterable[int], dtype: torch.dtype) -> T:
    """A tensor of a subclass, with a shape and a dtype on the meta device, and without memory.

    The public way, `torch.empty(shape, device="meta").as_subclass(cls)`, makes two tensors: it takes 18
    instead of 11 microseconds.
    """
    tensor: T = Tensor._make_wrapper_subclass(cls, tuple(shape), dtype=dtype, device=_META)
    return tensor


def storage_id(tensor: Tensor) -> int:
    """A number that a tensor shares with its views, and with no other tensor that is alive.

    Unlike `data_ptr()`, it is also different for tensors on the meta device, which have no memory.
    """
    return int(tensor.untyped_storage()._cdata)
