"""Finds where a host would wait for its device, on a machine that has none."""

import traceback
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Asked(TorchDispatchMode):
    """Notes the operators that make a host wait for its device: they read a value, or a size hangs on values."""

    WAITS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        is_mask = name in {"index", "index_put", "index_put_"} and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in self.WAITS or is_mask:
            self.found.append(f"{name} at {[f.lineno for f in traceback.extract_stack() if 'flvlp' in f.filename]}")
        return func(*args, **(kwargs or {}))
