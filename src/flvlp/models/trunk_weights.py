"""Weights of a trunk from a file that somebody else may have written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

CLASSIFIER_PREFIXES = ("head.", "head_drop.", "fc.", "classifier.")  # of a checkpoint; the trunk has none
_REMEDY = "give this model's state dict, as torch.save(model.state_dict(), ...) or safetensors writes it"


def load_trunk(trunk: nn.Module, path: Path) -> None:
    """Loads a state dict into a trunk, strictly but for a classifier head that the file may bring along.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or holds anything but tensors by name, keys are missing or left over, or tensors
            have another shape; the message lists some.
    """
    if not path.is_file():
        raise FileNotFoundError(f"encoder.<view>.weights: no such file ({path}); valid: pretrained, random, or a file")
    loaded = _read(path)
    own = trunk.state_dict()  # ConvNeXt keeps `head.norm` without a classifier
    state = {key: value for key, value in loaded.items() if key in own or not key.startswith(CLASSIFIER_PREFIXES)}
    reshaped = [
        f"{key} {tuple(state[key].shape)} in place of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if reshaped:
        raise ValueError(
            f"encoder.<view>.weights: {path} does not fit the backbone; {len(reshaped)} tensors have another shape "
            f"(such as {reshaped[:3]}); {_REMEDY}"
        )
    missing, unexpected = trunk.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"encoder.<view>.weights: {path} does not fit the backbone; missing {len(missing)} keys (such as "
            f"{missing[:3]}), unexpected {len(unexpected)} (such as {unexpected[:3]}); {_REMEDY}"
        )


def _read(path: Path) -> Mapping[str, Tensor]:
    """Reads a file of tensors by name; whole objects are refused, since unpickling them runs what the file says."""
    try:
        loaded: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except MemoryError:
        raise
    except Exception as error:  # of garbage, unpickling raises whatever its bytes lead to
        raise ValueError(
            f"encoder.<view>.weights: {path} cannot be read ({type(error).__name__}); {_REMEDY}; if it is one, copy it "
            "again"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and wrapper in loaded:
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise ValueError(
            f"encoder.<view>.weights: {path} holds no tensors by name but a {type(loaded).__name__}; {_REMEDY}"
        )
    return loaded
