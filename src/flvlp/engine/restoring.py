"""What a checkpoint holds, brought into model, optimiser and generators; what is of another run is refused."""

import logging
from typing import Any

import torch
from torch import nn

from flvlp import distributed
from flvlp.engine.seed import restore_random_state

log = logging.getLogger(__name__)

# What a whole file raises whose content is not that of this model.
OF_ANOTHER_RUN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError)
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # of AdamW


def restore(content: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any) -> None:
    """Brings the content of a checkpoint into model, optimiser, scaler and this rank's generators.

    Raises:
        one of OF_ANOTHER_RUN: it is not of this model, or its parts are not what a run writes.
    """
    model.load_state_dict(content["model"])
    _restore_optimizer(content["optimizer"], optimizer)
    scaler.load_state_dict(content["scaler"])
    for name, now in (("torch", str(torch.__version__)), ("threads", torch.get_num_threads())):
        if content[name] != now:
            log.warning("resume: %s was %s, is %s: figures may differ in the last bits", name, content[name], now)
    if len(content["rng"]) == distributed.world_size():
        restore_random_state(content["rng"][distributed.rank()])
    else:
        log.warning(
            "resume: the run had %d processes, now %d: it goes on from the same weights, not bit for bit",
            len(content["rng"]),
            distributed.world_size(),
        )


def _restore_optimizer(content: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Loads moments and groups; PyTorch looks at no shape, and a fused step would write outside of a wrong one.

    Raises:
        ValueError: groups or moments are of other parameters.
    """
    settings = _settings(optimizer)
    optimizer.load_state_dict(content)
    if _settings(optimizer) != settings:
        raise ValueError("the groups of the optimiser are set otherwise")
    for parameter, moments in optimizer.state.items():
        if set(moments) != MOMENTS:
            raise ValueError(f"the optimiser keeps {sorted(moments)}, not {sorted(MOMENTS)}")
        for name, value in moments.items():
            expected = torch.Size() if name == "step" else parameter.shape
            if not isinstance(value, torch.Tensor) or value.shape != expected or not value.is_floating_point():
                raise ValueError(f"the optimiser's {name} is not a tensor of {tuple(expected)}")
            if name != "step":  # the step reads both in the order of memory
                moments[name] = torch.empty_like(parameter).copy_(value)


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Returns what each group is set to, but for the learning rate, which every step sets anew."""
    return [
        {key: value for key, value in group.items() if key not in ("params", "lr")} for group in optimizer.param_groups
    ]
