"""Global generators: seeded once, saved in every checkpoint.

Data draws need none of them: they come from (seed, epoch, study).
"""

import os
import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seeds every global generator, and switches bitwise equal kernels, which are slower on CUDA, on or off.

    Args:
        seed: of Python's, NumPy's and PyTorch's generators.
        deterministic: True for kernels that give the same bits every time; an operation without one then raises
            `RuntimeError`. False takes back what an earlier job of this process asked for.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
    # Always: PyTorch looks at it once in a process, and a later job of a sweep may be the first deterministic one.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def random_state() -> dict[str, Any]:
    """Returns the state of every global generator of this process, as tensors and plain numbers."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "python": [version, torch.tensor(internal), gauss],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Sets every global generator of this process to what `random_state` returned.

    Raises:
        ValueError: NumPy's has no integers. What else is no state leads to errors of the three libraries.
    """
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    kind, keys, *rest = state["numpy"]
    if keys.dtype != torch.int64:
        raise ValueError(f"the state of NumPy's generator is {keys.dtype}, no integers")
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
