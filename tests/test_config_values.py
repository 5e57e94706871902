"""Values that no run can use are refused where they are written, by the name of their key."""

import dataclasses
import functools
import importlib
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flvlp.checks import SEEDS, check_fields, check_range
from flvlp.data.config import ImageConfig
from flvlp.data.readers.config import DATASET_CONFIGS
from flvlp.data.tokenizer import MIN_TOKENS
from flvlp.engine.config import EngineConfig
from flvlp.models.config import TextEncoderConfig
from support.entry import typed
from tests.test_configs import CONF

TASKS = ("classify", "segment", "detect", "retrieve", "zeroshot", "explain")
ENTRIES = ("pretrain", *TASKS, "prepare", "report", "benchmark")


def numbers(config: Any, path: str = "") -> Iterator[tuple[Any, str, str]]:
    """Yields (dataclass, name of its field, key) of every number that can be set."""
    kinds = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), kinds[field.name]
        choices = set(typing.get_args(kind)) if isinstance(kind, types.UnionType) else {kind}
        if dataclasses.is_dataclass(value):
            yield from numbers(value, f"{path}{field.name}.")
        elif choices & {int, float}:
            yield config, field.name, f"{path}{field.name}"


NUMBERS = [
    *(found for name in ENTRIES for found in numbers(importlib.import_module(name).Args())),
    *(found for name, made in DATASET_CONFIGS.items() for found in numbers(made(name=name), "dataset.")),
    *numbers(ImageConfig(), "encoder."),
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1])
def test_no_number_is_infinite_negative_or_none_at_all(value: float) -> None:
    assert len(NUMBERS) > 200, f"{len(NUMBERS)}: the walk over the dataclasses must find the numbers"
    for config, name, key in NUMBERS:
        if name == "clip" and value == float("inf"):  # clips nothing
            continue
        told = re.sub(r"^small\.", "encoder.", key)  # the second bundle of the benchmark
        with pytest.raises(ValueError, match=rf"^{re.escape(told)}: must (lie in|be a multiple of) .*, got {value}"):
            dataclasses.replace(config, **{name: value})
            pytest.fail(f"{key}={value} is accepted")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1])
@pytest.mark.parametrize(
    ("entry", "key", "rest"),
    [
        ("pretrain", "engine.betas", [0.9]),
        ("prepare", "fractions", []),
        ("prepare", "fraction_seeds", []),
        ("benchmark", "picture", [100]),
    ],
)
def test_no_number_of_a_list_is_either(entry: str, key: str, rest: list[float], value: float) -> None:
    config = composed(entry).copy()
    OmegaConf.update(config, key, [value, *rest], merge=False)
    with pytest.raises((ValueError, OmegaConfBaseException), match=rf"(?m)^{key}: must lie in|full_key: {key}"):
        typed(importlib.import_module(entry).Args, config)


@functools.cache
def composed(entry: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = compose(entry)
    OmegaConf.resolve(config)
    return config


def leaves(config: DictConfig, path: str = "") -> Iterator[str]:
    """Yields the keys that have no further keys below."""
    for key in map(str, config):
        value = config._get_node(key)
        if isinstance(value, DictConfig) and len(value):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


DATA = ("prompts.findings.", "prompts.slots.")  # thousands of words under keys that are all alike
PLACES = [(entry, key) for entry in ENTRIES for key in leaves(composed(entry)) if not key.startswith(DATA)]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=2), PLAIN, max_size=2)


@settings(max_examples=100, deadline=None)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_of_any_key_is_read_or_refused_with_an_error_that_is_documented(
    place: tuple[str, str], value: Any
) -> None:
    entry, key = place
    section = key.partition(".")[0]
    config = OmegaConf.masked_copy(composed(entry), [section])  # the rest has defaults; this is much faster
    try:
        OmegaConf.update(config, key, value, merge=False)
        typed(importlib.import_module(entry).Args, config)
    except ValueError as error:
        assert key.split(".")[-1] in str(error) or section in str(error), repr(error)
    except OmegaConfBaseException:  # says the key in its own way
        pass


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("(0, 1]", [1e-300, 1], [0, -0.0, 1.0001, float("nan")]),
        ("[0, 1)", [0, 0.999], [-1e-300, 1]),
        ("[1, inf)", [1, 10**400, 1e308], [0, float("inf"), float("nan")]),
        (SEEDS, [0, 2**32 - 1], [-1, 2**32]),
    ],
)
def test_an_interval_is_read_as_in_mathematics(interval: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        check_range("a.b", value, interval)
    for value in outside:
        with pytest.raises(ValueError, match=r"^a\.b: must lie in [\[(].*[\])], got "):
            check_range("a.b", value, interval)


@pytest.mark.parametrize("name", [[], ["phantom"], {}, 3, None])
def test_a_name_of_a_data_set_that_is_no_word_is_refused_with_the_names(name: Any) -> None:
    config = composed("pretrain").copy()
    OmegaConf.update(config, "dataset.name", name, merge=False)
    with pytest.raises(ValueError, match=r"^dataset\.name: unknown data set .*choose one of: phantom, pairs"):
        typed(importlib.import_module("pretrain").Args, config)


def test_a_key_that_may_be_null_says_so() -> None:
    EngineConfig(max_steps=None)
    with pytest.raises(ValueError, match=r"^engine\.max_steps: must lie in \[1, inf\), got 0; or give null$"):
        EngineConfig(max_steps=0)


def test_the_least_number_of_pieces_is_that_of_the_tokenizer() -> None:
    TextEncoderConfig(max_tokens=MIN_TOKENS)
    with pytest.raises(ValueError, match=r"^encoder\.text\.max_tokens: "):
        TextEncoderConfig(max_tokens=MIN_TOKENS - 1)


def test_fields_without_a_section_are_named_alone() -> None:
    with pytest.raises(ValueError, match=r"^crop: must lie in \[1, 3\], got 4$"):
        check_fields(ImageConfig(resize=8, crop=4), "", "[1, 3]", "crop")
