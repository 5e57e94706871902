"""The machine's own rate at the matrix products of a step: each product of the step is run again, on its own."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_backward_flop, sdpa_flop

aten = torch.ops.aten
# PyTorch counts the fused attention of devices, and not the one of CPUs.
for operator, formula in (
    (aten._scaled_dot_product_flash_attention_for_cpu, sdpa_flop),
    (aten._scaled_dot_product_flash_attention_for_cpu_backward, sdpa_backward_flop),
):
    if operator not in flop_registry:
        register_flop_formula(operator, get_raw=True)(formula)  # which reads shapes itself
PRODUCTS = (
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
    aten.convolution.default,
    aten.convolution_backward.default,
)


@dataclass
class Product:
    """An operator with arguments of certain shapes, strides and types, and how often it was called."""

    operator: Any
    arguments: Any
    calls: int = 0


class Recorder(TorchDispatchMode):
    """Counts the products that run inside it, and their floating-point operations.

    Attributes:
        products: the distinct ones by a name that holds operator and arguments.
        flop: of all operators that PyTorch can count, forward and backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: dict[str, Product] = {}
        self.flop = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operator and counts it."""
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flop += count(*args, **(kwargs or {}), out_val=out)
        if func in PRODUCTS:
            product = Product(func, tree_map(_described, args))
            self.products.setdefault(f"{func} {product.arguments}", product).calls += 1
        return out

    def replay(self, device: torch.device, repeats: int) -> tuple[float, int]:
        """Runs each recorded product on its own.

        Args:
            device: where.
            repeats: of each product that count; one more warms up.

        Returns:
            seconds that all calls together take (the median of each), and their floating-point operations.
        """
        seconds, flop = 0.0, 0
        for product in self.products.values():
            arguments = tree_map(lambda one: _made(one, device), product.arguments)
            once, out = _time(product.operator, arguments, device, repeats)
            seconds += product.calls * once
            flop += product.calls * flop_registry[product.operator._overloadpacket](*arguments, out_val=out)
        return seconds, flop


class _Shape(tuple[Any, ...]):
    """Shape, strides and type of a tensor; a leaf, so that trees of arguments keep it whole."""


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _Shape((tuple(value.shape), tuple(value.stride()), value.dtype))
    return value


def _made(value: Any, device: torch.device) -> Any:
    if not isinstance(value, _Shape):
        return value
    shape, strides, dtype = value
    reach = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))  # expanded ones overlap
    return torch.randn(reach, device=device).to(dtype).as_strided(shape, strides)


def _time(run: Callable[..., Any], arguments: Any, device: torch.device, repeats: int) -> tuple[float, Any]:
    taken, out = [], None
    for _ in range(repeats + 1):
        start = time.perf_counter()
        out = run(*arguments)
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:]), out
