"""Every group choice and every experiment composes and fits the dataclasses."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pretrain import Args
from support.entry import typed

CONF = Path(__file__).parents[1] / "conf"
NO_CHOICES = {CONF, CONF / "dataset" / "base", CONF / "prompts" / "base"}  # what choices have in common is none
ENTRY_OF_TASK = {
    **{"linear_probe": "classify", "finetune": "classify", "segmentation": "segment", "detection": "detect"},
    **{"retrieval": "retrieve", "zeroshot": "zeroshot", "grounding": "explain"},
}
TASKS = sorted(set(ENTRY_OF_TASK.values()))
ENTRY_OF_GROUP = {"prompts": "zeroshot"}  # the others are read by pre-training


def entry_of(group: str, choice: str) -> str:
    return ENTRY_OF_TASK[choice] if group == "task" else ENTRY_OF_GROUP.get(group, "pretrain")


GROUPS = [
    (entry_of(str(path.parent.relative_to(CONF)), path.stem), f"{path.parent.relative_to(CONF)}={path.stem}")
    for path in sorted(CONF.glob("*/**/*.yaml"))
    if path.parent not in NO_CHOICES
]


def read_for(entry: str, *overrides: str) -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return typed(importlib.import_module(entry).Args, compose(entry, overrides=list(overrides)))


def read(*overrides: str) -> Args:
    return read_for("pretrain", *overrides)


@pytest.mark.parametrize(("entry", "override"), GROUPS)
def test_every_choice_of_every_group_composes(entry: str, override: str) -> None:
    group, choice = override.split("=")
    args = read_for(entry, override)
    if group in ("dataset", "task"):
        assert getattr(args, group).name == choice


@pytest.mark.parametrize("dataset", sorted(path.stem for path in (CONF / "dataset").glob("*.yaml")))
@pytest.mark.parametrize("task", TASKS)
def test_every_task_composes_with_every_data_set(task: str, dataset: str) -> None:
    assert read_for(task, f"dataset={dataset}").dataset.name == dataset


def test_a_bundle_sets_its_recipe_and_a_value_overrides_it() -> None:
    assert (read("encoder=paper").engine.lr, read("encoder=paper").engine.epochs) == (1e-5, 50)
    assert read("encoder=paper", "engine.lr=1e-4").engine.lr == 1e-4


def test_one_encoder_of_a_bundle_is_swapped_by_name() -> None:
    args = read("encoder=paper", "encoder/lateral=shared")
    assert (args.encoder.lateral.backbone, args.encoder.frontal.backbone.split(".")[0]) == (
        "shared",
        "vit_base_patch16_clip_224",
    )


def test_the_paper_settings_are_those_of_the_method() -> None:
    args = read("encoder=paper")
    engine, loss = args.engine, args.loss
    assert (engine.weight_decay, engine.clip, engine.warmup_epochs, engine.new_lr_scale) == (0.05, 1.0, 5, 5.0)
    assert (tuple(engine.betas), engine.warmup_start, engine.batch_size) == ((0.9, 0.999), 0.1, 32)
    assert (loss.itc.temperature, loss.view_alignment.temperature, loss.prototype.temperature) == (0.1, 0.07, 0.1)
    assert (loss.prototype.epsilon, loss.prototype.iterations, args.heads.prototypes) == (0.07, 3, 500)
    assert (args.heads.keep_ratio, args.heads.aggregate_percent, args.heads.mlm_depth) == (0.8, 56, 4)
    assert (args.encoder.width, args.encoder.resize, args.encoder.crop, args.encoder.text.max_tokens) == (
        512,
        256,
        224,
        128,
    )


@pytest.mark.parametrize("term", ["itc", "mlm", "view_alignment", "prototype"])
def test_weight_0_switches_a_term_off(term: str) -> None:
    assert read(f"loss.{term}.weight=0").loss.active() == {"itc", "mlm", "view_alignment", "prototype"} - {term}


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("engine.precision=fp8", "auto, fp32, bf16, fp16"),
        ("masking.kind=none", "semantic, random"),
        ("masking.rate=1.5", "masking.rate"),
        ("dataset.on_error=ignore", "raise, skip"),
        ("dataset.name=mimic", "phantom, pairs, mimic_cxr, iu_xray"),
        ("loss.view_alignment.negatives=images", "words, laterals"),
        ("loss.itc.weight=-1", "loss.itc.weight"),
        ("engine.batch_size=0", "engine.batch_size"),
        ("encoder.lateral.adapter=conv", "linear, mlp"),
        ("encoder.frontal.frozen=true", "random weights must be trained"),
        ("heads.keep_ratio=0", "heads.keep_ratio"),
        ("engine.lr=fast", "engine.lr"),
        ("engine.epochs=2.5", "engine.epochs"),
    ],
)
def test_a_wrong_value_names_its_key_or_the_choices(override: str, part: str) -> None:
    with pytest.raises((ValueError, OmegaConfBaseException), match=part.replace(".", r"\.")):
        read(override)


def test_every_value_of_the_yaml_is_one_of_the_dataclass() -> None:
    args = read()
    schema = OmegaConf.structured(Args)
    assert set(OmegaConf.to_container(schema)["engine"]) == set(vars(args.engine))  # type: ignore[index,call-overload]
