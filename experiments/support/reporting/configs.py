"""Configurations side by side: what of them moves a result, and in what two of them differ."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from support import entry
from support.entry import FREE_ON_RESUME, is_free

Flat = dict[str, Any]  # path of a key -> value

# Groups of pre-training that move its figures; what else may stand beside them says where and how it ran.
GROUPS = ("encoder", "heads", "loss", "masking", "dataset", "engine", "init_from")
# Of these and of the groups of a task: where things lie, what is logged, how many work. `encoder.recipe` only hands its
# values on to `engine` and `heads`.
NO_RESULT = (
    *(key for key in FREE_ON_RESUME if key != "engine.max_steps"),
    "encoder.recipe",
    *(f"dataset.log_{what}" for what in ("text", "images", "ids")),
    *("task.num_workers", "task.fit.num_workers", "task.chunk"),
)
PLAIN = re.compile(r"[\w./@%+*|-]+")


def read_config(path: Path) -> Flat:
    """Returns the values of a `config.yaml` by their paths; ValueError for one that is damaged."""
    return flatten(OmegaConf.to_container(entry.read_config(path)))  # type: ignore[arg-type]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Flat:
    """Returns nested values by their paths, as in `engine.lr`; lists stay whole."""
    flat: Flat = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def moving(config: Flat, groups: Sequence[str]) -> Flat:
    """Returns the keys of some groups that move a result."""
    return {
        key: value for key, value in config.items() if key.partition(".")[0] in groups and not is_free(key, NO_RESULT)
    }


def differences(config: Flat, other: Flat) -> dict[str, tuple[Any, Any]]:
    """Returns key -> (value, value of the other) where the two differ; None for a key that one does not have."""
    keys = [*config, *(key for key in other if key not in config)]
    return {key: (config.get(key), other.get(key)) for key in keys if config.get(key) != other.get(key)}


def frozen(config: Flat) -> tuple[tuple[str, str], ...]:
    """Returns a configuration as something that can be counted and compared."""
    return tuple(sorted((key, shown(value)) for key, value in config.items()))


def most_common(configs: Iterable[Flat]) -> Flat:
    """Returns the configuration that occurs most often, the first of several."""
    known = list(configs)
    (commonest, _), *_ = Counter(map(frozen, known)).most_common(1)
    return next(config for config in known if frozen(config) == commonest)


def shown(value: Any) -> str:
    """Returns a value as it stands on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"  # weight=0 and weight=0.0 are the same
    text = str(value)
    # Hydra's grammar takes other letters in quotes only.
    return text if not isinstance(value, str) or PLAIN.fullmatch(text) else repr(text)


def short_hash(parts: Mapping[str, str]) -> str:
    """Returns eight letters that tell the studies of some parts apart from others."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def usual(configs: Sequence[Flat]) -> Flat:
    """Returns the most common value of every key, of equally common ones that of the first configuration."""
    common: Flat = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        counts = Counter(shown(config.get(key)) for config in configs)
        common[key] = next(
            config.get(key) for config in configs if counts[shown(config.get(key))] == max(counts.values())
        )
    return common


def brief(config: Flat, reference: Flat) -> str:
    """Returns in what a configuration differs from another, as a command line would say it."""
    return ", ".join(f"{key}={shown(mine)}" for key, (mine, _) in differences(config, reference).items())
