"""Commands that make a run again, as they are typed in the folder of the suite."""

import shlex
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from support.reporting.configs import GROUPS, PLAIN, Flat, flatten, moving, shown

# Groups whose choices may say several keys at once, in the order in which they are tried.
CHOICES = (
    *("dataset", "encoder", "encoder/frontal", "encoder/lateral", "encoder/text", "loss", "masking", "engine"),
    *("experiment", "experiment/ablation"),
)
SPECIAL = set('"$`\\\\!')  # what a shell reads inside double quotes too
BESIDE = ("name", "then", "dataset.root")  # what moves no figure of pre-training, and is wanted again all the same


class Composer:
    """Composes configurations of pre-training inside a running Hydra application."""

    def __init__(self) -> None:
        self.compose: Callable[[tuple[str, ...]], Flat | None] = cache(self._compose)

    @staticmethod
    def _compose(overrides: tuple[str, ...]) -> Flat | None:
        """Returns what overrides compose to; None for a preset that is a whole sweep."""
        from hydra import compose

        cfg = compose("pretrain", overrides=list(overrides), return_hydra_config=True)
        if OmegaConf.select(cfg, "hydra.sweeper.params"):
            return None
        OmegaConf.set_struct(cfg, value=False)
        cfg.pop("hydra")
        OmegaConf.resolve(cfg)
        return flatten(OmegaConf.to_container(cfg))  # type: ignore[arg-type]

    @staticmethod
    def choices(group: str) -> list[str]:
        """Returns the choices of a group, none where there is no such group."""
        from hydra.core.global_hydra import GlobalHydra

        loader = GlobalHydra.instance().config_loader()
        known = loader.get_group_options(group)
        return [one for one in known if one != "base"]


def overrides_of(config: Flat, composer: Composer) -> list[str]:
    """Returns few overrides that compose the configuration of a pre-training run, as far as it moves a result.

    Args:
        config: of a run, whole; of the seed there is nothing among the overrides.
        composer: of pre-training.
    """
    chosen: tuple[str, ...] = ()
    best = _missing(config, chosen, composer) or []
    for group in CHOICES:
        before, tried = chosen, [f"{group}={choice}" for choice in composer.choices(group)]
        if group == "dataset":  # the keys of another data set are others
            tried = [f"dataset={config.get('dataset.name')}"]
        for choice in tried if len(best) > 1 else ():  # no choice is shorter than one key
            missing = _missing(config, (*before, choice), composer)
            if missing is not None and len(before) + 1 + len(missing) < len(chosen) + len(best):
                chosen, best = (*before, choice), missing
    return [*chosen, *best]


def _missing(config: Flat, chosen: tuple[str, ...], composer: Composer) -> list[str] | None:
    """Returns the overrides of single keys that are needed beside chosen ones."""
    there = composer.compose(chosen)
    if there is None:
        return None
    wanted = moving(config, GROUPS) | {key: value for key, value in config.items() if key.startswith(BESIDE)}
    made = moving(there, GROUPS) | {key: value for key, value in there.items() if key.startswith(BESIDE)}
    added = [
        f"{'' if key in there else '+'}{key}={shown(value)}"
        for key, value in wanted.items()
        if key not in there or there[key] != value
    ]
    # A value of a group that is empty or null takes its keys with it.
    gone = [key for key in made if key not in wanted and not any(key.startswith(f"{one}.") for one in wanted)]
    return added + [f"~{key}" for key in gone]


def relative_command(words: Sequence[str], folder: Path) -> str:
    """Returns a command as it is typed in `folder`: python without its place, paths below the folder relative to it.

    Args:
        words: interpreter, script and arguments, as `run.json` holds them.
        folder: absolute, where a reader starts it.
    """
    script, *arguments = words[1:] or [""]
    parts = Path(script).parts
    if "experiments" in parts:
        script = str(Path(*parts[len(parts) - 1 - parts[::-1].index("experiments") :]))
    said = [_typed(argument.replace(f"{folder}/", "")) for argument in arguments]
    return " ".join(["python", _typed(script), *said])


def _typed(word: str) -> str:
    """Returns a word as one types it in a shell, with the quotes that are easiest to read."""
    key, _, value = word.partition("=")
    if len(value) > 2 and value[0] == value[-1] == "'" and PLAIN.fullmatch(value[1:-1]):
        return f"{key}={value[1:-1]}"  # Hydra needs its quotes for other letters only
    return f'"{word}"' if "'" in word and not SPECIAL.intersection(word) else shlex.quote(word)
