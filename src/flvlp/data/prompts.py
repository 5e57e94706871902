"""Prompt sets of zero-shot classification: what is said for and against each class. Imports nothing heavy.

A set (`conf/prompts/<name>.yaml`) is a list of templates whose `{slots}` are filled with every word of their lists, in
every combination. `{finding}` is what a finding is called, `{wording}` that and its synonyms, `{Finding}` and
`{Wording}` the same with a capital; any other slot is looked up in the finding's own lists, then in those of the set.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from flvlp.checks import check_choice, check_fields

SCHEMES = ("difference", "positive_only")
REDUCTIONS = ("mean", "max")

_SLOT = re.compile(r"\{(\w*)\}")
_NO_KEY = re.compile(r"[^a-z0-9]+")
_SPACE = re.compile(r"\s+(?=[\s.,;])")


@dataclass
class FindingWords:
    """How reports speak of one finding.

    Attributes:
        names: what it is called in prose; several where the class gathers several things, such as devices. All are
            used by every set; none takes the class name in lower case.
        synonyms: other words for the same.
        aliases: keys (`class_key`) of the other class names that data sets have for it.
        slots: words for further slots of the templates; an empty list says nothing, so its templates give no prompt.
        positive, negative: templates that take the place of the set's, for a class that fits none of them.
    """

    names: list[str] = field(default_factory=list)
    synonyms: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    slots: dict[str, list[str]] = field(default_factory=dict)
    positive: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)


@dataclass
class PromptsConfig:
    """A prompt set and how its similarities become a score (`flvlp.zeroshot`).

    Attributes:
        name: of the set, for result rows.
        positive, negative: templates; without negative ones the scheme must be `positive_only`.
        slots: words that hold for every finding without its own.
        findings: by key (`class_key`); a class that is not there is called by its name in lower case, and fails where
            the templates need other words of it.
        sample: prompts that are drawn of each side; 0 takes all.
        draws: how often they are drawn; a result is the mean over the draws with its standard deviation.
        scheme: `difference` or `positive_only`.
        reduce: `mean` (of the prompts' features) or `max` (of their similarities).
        temperature: of the softmax over exclusive classes; which class is the best does not depend on it.
        standardise: True z-scores each class over the images that are scored. That is transductive: the score of an
            image depends on the other test images.
    """

    name: str = ""
    positive: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)
    slots: dict[str, list[str]] = field(default_factory=dict)
    findings: dict[str, FindingWords] = field(default_factory=dict)
    sample: int = 0
    draws: int = 1
    scheme: str = "difference"
    reduce: str = "mean"
    temperature: float = 0.1
    standardise: bool = False

    def __post_init__(self) -> None:
        check_choice("prompts.scheme", self.scheme, SCHEMES)
        check_choice("prompts.reduce", self.reduce, REDUCTIONS)
        if not self.positive:
            raise ValueError("prompts.positive: no template; give at least one, such as '{Finding}.'")
        if not self.negative and self.scheme != "positive_only":
            raise ValueError(
                f"prompts.scheme: {self.scheme} compares with negative prompts, and prompts.negative is empty; give "
                "some, such as 'No {finding}.', or take prompts.scheme=positive_only"
            )
        check_fields(self, "prompts", "[0, inf)", "sample")
        check_fields(self, "prompts", "[1, inf)", "draws")
        check_fields(self, "prompts", "(0, inf)", "temperature")
        if self.draws > 1 and not self.sample:
            raise ValueError(
                f"prompts.draws: {self.draws} draws of all prompts (prompts.sample=0), which would be the same; "
                "leave 1, or set prompts.sample"
            )
        _key_of_alias(self.findings)


@dataclass(frozen=True, slots=True)
class ClassPrompts:
    """What is said for and against one class; `negative` may be empty, `positive` is not."""

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


def class_key(name: str) -> str:
    """Returns the key of a class name: lower case, with `_` for whatever is no letter or digit."""
    return _NO_KEY.sub("_", name.lower()).strip("_")


def expand(config: PromptsConfig, class_names: Sequence[str], draw: int = 0, seed: int = 0) -> tuple[ClassPrompts, ...]:
    """Writes the prompts of each class.

    What is drawn depends on (seed, draw, finding) alone: not on the other classes, their order, or which of its names a
    data set has for the finding.

    Args:
        config: the set.
        class_names: C classes as their data set names them.
        draw: in [0, config.draws).
        seed: of the sampling, at least 0.

    Returns:
        C entries in the order of `class_names`; no prompt twice on a side.

    Raises:
        ValueError: no such draw, or a class that the set has no words for; names all of them and what to add.
    """
    if not 0 <= draw < config.draws:
        raise ValueError(f"expand: draw {draw} of prompts={config.name}; it has {config.draws} (prompts.draws)")
    key_of = _key_of_alias(config.findings)
    keys = [key_of.get(class_key(name), class_key(name)) for name in class_names]
    words = [_words(config, key, name) for key, name in zip(keys, class_names, strict=True)]
    _check_slots(config, class_names, keys, words)
    expanded = []
    for name, key, own in zip(class_names, keys, words, strict=True):
        sides = []
        for side, templates in enumerate((own.positive or config.positive, own.negative or config.negative)):
            prompts = list(dict.fromkeys(text for one in templates for text in _fill(one, config, own)))
            if 0 < config.sample < len(prompts):
                generator = np.random.default_rng((seed, draw, zlib.crc32(key.encode()), side))
                chosen = generator.choice(len(prompts), size=config.sample, replace=False)
                prompts = [prompts[position] for position in chosen]
            sides.append(tuple(prompts))
        expanded.append(ClassPrompts(name, *sides))
    return tuple(expanded)


def _key_of_alias(findings: dict[str, FindingWords]) -> dict[str, str]:
    """Returns alias -> key.

    Raises:
        ValueError: an alias that is no key, or belongs to two findings.
    """
    key_of: dict[str, str] = {}
    for key, words in findings.items():
        for alias in (key, *words.aliases):
            if alias != class_key(alias) or (alias != key and alias in findings) or alias in key_of:
                raise ValueError(
                    f"prompts.findings.{key}: {alias!r} cannot stand for it; keys are lower case with underscores "
                    f"({class_key(alias)}), and each belongs to one finding"
                )
            key_of[alias] = key
    return key_of


def _words(config: PromptsConfig, key: str, class_name: str) -> FindingWords:
    """Returns the words of a class, which has at least a name."""
    words = config.findings.get(key, FindingWords())
    return replace(words, names=words.names or [class_name.lower().replace("_", " ")])


def _options(slot: str, config: PromptsConfig, words: FindingWords) -> list[str] | None:
    """Returns the words of a slot, None where there are none for this finding."""
    match slot:
        case "finding":
            return words.names
        case "wording":
            return words.names + words.synonyms
        case "Finding" | "Wording":
            return [one[0].upper() + one[1:] for one in _options(slot.lower(), config, words) or []]
    return words.slots.get(slot, config.slots.get(slot))


def _fill(template: str, config: PromptsConfig, words: FindingWords) -> list[str]:
    """Returns the template with every combination of the words of its slots; the last slot varies first."""
    slots = list(dict.fromkeys(_SLOT.findall(template)))
    filled = []
    for chosen in product(*(_options(slot, config, words) or [] for slot in slots)):
        word_of = dict(zip(slots, chosen, strict=True))
        filled.append(_SPACE.sub("", _SLOT.sub(lambda match: word_of[match[1]], template)).strip())  # noqa: B023
    return filled


def _check_slots(
    config: PromptsConfig, class_names: Sequence[str], keys: Sequence[str], words: Sequence[FindingWords]
) -> None:
    """Stops when a class has no words for a slot of its templates, or no positive prompt."""
    wanting = []
    for name, key, own in zip(class_names, keys, words, strict=True):
        positive = own.positive or config.positive
        slots = dict.fromkeys(_SLOT.findall(" ".join((*positive, *(own.negative or config.negative)))))
        missing = [f"findings.{key}.slots.{slot}" for slot in slots if _options(slot, config, own) is None]
        if missing or not any(_fill(template, config, own) for template in positive):
            wanting.append(f"{name!r} ({', '.join(missing) or f'findings.{key}: a list of its slots is empty'})")
    if wanting:
        raise ValueError(
            f"expand: prompts={config.name} has no words for {len(wanting)} of {len(class_names)} classes: "
            f"{'; '.join(wanting)}; add these lists to its YAML, or take a set that needs no more than a name, such as "
            "prompts=findings"
        )
