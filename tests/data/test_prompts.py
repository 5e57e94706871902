"""Prompt sets: every shipped set speaks of every class of every data set, and what is drawn is drawn by the seed."""

import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from flvlp.data.phantom.findings import FINDING_NAMES
from flvlp.data.prompts import ClassPrompts, FindingWords, PromptsConfig, class_key, expand
from flvlp.data.readers import covidx, ms_cxr, nih14, object_cxr, rsna, siim
from flvlp.data.readers.labels import CHEXPERT14

CONF = Path(__file__).parents[2] / "conf"
SETS = sorted(path.stem for path in (CONF / "prompts").glob("*.yaml"))
CLASSES = {
    "phantom": FINDING_NAMES,
    "chexpert": CHEXPERT14,
    "nih14": nih14.NAMES,
    "rsna": (*rsna.NAMES, *rsna.BOX_NAMES),
    "siim": siim.NAMES,
    "covidx": covidx.NAMES,
    "object_cxr": object_cxr.NAMES,
    "ms_cxr": ms_cxr.NAMES,
}
UNKNOWN = "Aortic_Calcification"


@cache
def shipped(*overrides: str) -> PromptsConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = compose("pretrain", [f"+prompts={overrides[0]}", *overrides[1:]])
    joined = OmegaConf.merge(OmegaConf.structured(PromptsConfig), composed.prompts)
    return OmegaConf.to_object(joined)  # type: ignore[return-value]


def of(set_name: str, class_name: str, draw: int = 0, seed: int = 0) -> ClassPrompts:
    (one,) = expand(shipped(set_name), [class_name], draw, seed)
    return one


@pytest.mark.parametrize("data_set", CLASSES)
@pytest.mark.parametrize("name", SETS)
def test_every_set_speaks_for_and_against_every_class_of_every_data_set(name: str, data_set: str) -> None:
    config = shipped(name)
    expanded = expand(config, CLASSES[data_set])
    assert tuple(one.name for one in expanded) == CLASSES[data_set]
    for one in expanded:
        assert one.positive
        assert one.negative or config.scheme == "positive_only"
        assert not set(one.positive) & set(one.negative)
        for text in (*one.positive, *one.negative):
            assert re.fullmatch(r"[A-Za-z]\S*( \S+)*", text), f"{one.name}: {text!r}"
            assert not set("{}_") & set(text), f"{one.name}: {text!r}"


@pytest.mark.parametrize("data_set", CLASSES)
def test_every_class_of_every_data_set_is_in_the_table_of_names(data_set: str) -> None:
    findings = shipped("findings").findings
    known = {alias for key, words in findings.items() for alias in (key, *words.aliases)}
    absent = [name for name in CLASSES[data_set] if class_key(name) not in known]
    assert not absent, f"not in conf/prompts/base/findings.yaml: {absent}"
    assert all(words.names for words in findings.values())


@pytest.mark.parametrize("name", SETS)
def test_the_classes_of_a_data_set_are_told_apart(name: str) -> None:
    for classes in CLASSES.values():
        positives = [frozenset(one.positive) for one in expand(shipped(name), classes)]
        assert len(set(positives)) == len(classes)


@pytest.mark.parametrize("name", SETS)
def test_a_finding_is_spoken_of_alike_whatever_a_data_set_calls_it(name: str) -> None:
    for one, other in (("Effusion", "Pleural Effusion"), ("Hernia", "hiatal_hernia"), ("No Finding", "normal")):
        assert of(name, one, 0, 3).positive == of(name, other, 0, 3).positive
        assert of(name, one, 0, 3).negative == of(name, other, 0, 3).negative


@pytest.mark.parametrize("name", SETS)
def test_every_key_of_the_dataclass_can_be_overridden_by_name(name: str) -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = compose("pretrain", [f"+prompts={name}"]).prompts
    assert set(composed) == {one.name for one in fields(PromptsConfig)}
    assert composed.name == name


def test_the_default_set_names_the_devices_and_denies_each_and_knows_the_normal_chest() -> None:
    devices = of("findings", "Support Devices")
    assert {"Pacemaker.", "Endotracheal tube.", "Findings consistent with sternotomy wires."} <= set(devices.positive)
    assert {"No pacemaker.", "No acute cardiopulmonary abnormality.", "No lines or tubes."} <= set(devices.negative)
    assert "No enlarged heart." not in of("findings", "Cardiomegaly").negative  # a synonym is not denied
    assert "No acute cardiopulmonary abnormality." in of("findings", "No Finding").positive


def test_phrases_name_severity_and_place_and_do_not_deny_the_name() -> None:
    effusion = of("phrases", "Pleural Effusion")
    assert {"small pleural effusion on the right.", "pleural effusion on both sides."} <= set(effusion.positive)
    assert {"The costophrenic angles are sharp.", "Normal chest radiograph."} <= set(effusion.negative)
    for classes in CLASSES.values():
        usual, phrases = (expand(shipped(name), classes) for name in ("findings", "phrases"))
        for one, other in zip(usual, phrases, strict=True):
            usual_denials = {text for text in one.negative if text.startswith("No evidence of ")}
            denials = usual_denials | {text.replace("No evidence of ", "No ") for text in usual_denials}
            assert denials or one.name in ("No Finding", "normal"), f"{one.name}: the usual set denies nothing"
            assert not denials & set(other.negative), f"{one.name}: {other.negative}"


@pytest.mark.parametrize(
    ("name", "positive", "negative"),
    [
        ("chexzero", {"pneumonia"}, {"no pneumonia"}),
        ("kad", {"pneumonia"}, set()),
        ("radzero", {"There is pneumonia"}, set()),
        ("cxr_clip", {"Findings suggesting pneumonia."}, {"No evidence of pneumonia."}),
        (
            "biovil",
            {
                "Findings consistent with pneumonia",
                "Findings suggesting pneumonia",
                "This opacity can represent pneumonia",
                "Findings are most compatible with pneumonia",
            },
            {
                "There is no pneumonia",
                "No evidence of pneumonia",
                "No evidence of acute pneumonia",
                "No signs of pneumonia",
            },
        ),
    ],
)
def test_the_published_schemes_say_of_pneumonia_what_they_say_there(
    name: str, positive: set[str], negative: set[str]
) -> None:
    one = of(name, "Pneumonia")
    assert (set(one.positive), set(one.negative)) == (positive, negative)
    assert shipped(name).draws == 1


@pytest.mark.parametrize(("name", "count", "reduce"), [("gloria", 5, "max"), ("medclip", 10, "mean")])
def test_phrases_are_severity_subtype_and_location_drawn_at_random(name: str, count: int, reduce: str) -> None:
    config = shipped(name)
    assert (config.sample, config.reduce, config.draws >= 5, config.standardise) == (count, reduce, True, False)
    slots = config.findings["pneumothorax"].slots
    whole = {
        f"{severity} {subtype} {location}".strip()
        for severity in slots["severity"]
        for subtype in slots["subtype"]
        for location in slots["location"]
    }
    draws = [of(name, "Pneumothorax", draw).positive for draw in range(config.draws)]
    assert all(len(set(drawn)) == count and set(drawn) <= whole for drawn in draws)
    assert len(set(draws)) == config.draws, "two draws are the same"


@pytest.mark.parametrize("draw", range(5))
def test_a_draw_depends_on_seed_draw_and_class_and_on_no_other_class(draw: int) -> None:
    config = shipped("gloria")
    forth = expand(config, FINDING_NAMES, draw, seed=7)
    assert forth == expand(config, FINDING_NAMES, draw, seed=7)
    assert forth[::-1] == expand(config, FINDING_NAMES[::-1], draw, seed=7)
    assert forth[2] == expand(config, FINDING_NAMES[2:3], draw, seed=7)[0]
    assert forth != expand(config, FINDING_NAMES, draw, seed=8)


def test_a_side_with_fewer_prompts_than_are_drawn_is_taken_whole() -> None:
    config = PromptsConfig(
        *("few", ["{size} {finding}"], ["no {finding}"]), slots={"size": ["small", "large"]}, sample=3, draws=2
    )
    assert expand(config, ["Mass"], draw=1) == (ClassPrompts("Mass", ("small mass", "large mass"), ("no mass",)),)


def test_words_fill_templates_in_every_combination_and_nothing_is_said_twice() -> None:
    words = FindingWords(names=["edema"], synonyms=["wet lung"], slots={"degree": ["", "mild"], "absent": []})
    config = PromptsConfig(
        positive=["{degree} {wording} {place}.", "{Wording} in the lungs.", "{Finding}"],
        negative=["No {finding}.", "{absent}", "No edema."],
        slots={"place": ["in the lungs", ""], "degree": ["unused"]},
        findings={"edema": words},
    )
    (one,) = expand(config, ["Edema"])
    assert one.positive == (
        *("edema in the lungs.", "edema.", "wet lung in the lungs.", "wet lung.", "mild edema in the lungs."),
        *("mild edema.", "mild wet lung in the lungs.", "mild wet lung."),
        *("Edema in the lungs.", "Wet lung in the lungs.", "Edema"),
    )
    assert one.negative == ("No edema.",)


@pytest.mark.parametrize("name", ["findings", "biovil", "chexzero", "cxr_clip", "kad", "radzero"])
def test_an_unknown_class_is_called_by_its_name_where_no_more_is_needed(name: str) -> None:
    assert all("aortic calcification" in text.lower() for text in of(name, UNKNOWN).positive)


@pytest.mark.parametrize("name", ["gloria", "medclip"])
def test_an_unknown_class_of_a_set_that_needs_words_of_it_says_which_lists_to_add(name: str) -> None:
    with pytest.raises(ValueError, match="2 of 3 classes") as caught:
        expand(shipped(name), [UNKNOWN, "Edema", "Scoliosis"])
    for part in (name, "Aortic_Calcification", "findings.aortic_calcification.slots.location", "findings.scoliosis"):
        assert part in str(caught.value)
    assert "findings.edema" not in str(caught.value)


def test_a_class_can_be_added_on_the_command_line() -> None:
    config = shipped("chexzero", "+prompts.findings.scoliosis.names=[curvature of the spine]")
    (one,) = expand(config, ["Scoliosis"])
    assert one == ClassPrompts("Scoliosis", ("curvature of the spine",), ("no curvature of the spine",))


def test_a_class_whose_lists_are_empty_fails() -> None:
    config = PromptsConfig(positive=["{place}"], negative=["none"], slots={"place": []})
    with pytest.raises(ValueError, match="a list of its slots is empty"):
        expand(config, ["Mass"])


@pytest.mark.parametrize("draw", [-1, 5])
def test_a_draw_that_the_set_has_not_fails(draw: int) -> None:
    with pytest.raises(ValueError, match=rf"draw {draw} .* it has 5"):
        expand(shipped("gloria"), ["Edema"], draw)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("prompts.scheme=ratio", "difference, positive_only"),
        ("prompts.reduce=median", "mean, max"),
        ("prompts.positive=[]", "prompts.positive"),
        ("prompts.negative=[]", "prompts.scheme=positive_only"),
        ("prompts.sample=-1", "prompts.sample"),
        ("prompts.draws=5", "prompts.draws"),
        ("prompts.draws=0", "prompts.draws"),
        ("prompts.temperature=0", "prompts.temperature"),
        ("+prompts.findings.Chest_Tube.names=[chest tube]", "chest_tube"),
        ("+prompts.findings.mass.aliases=[nodule]", "findings.mass: 'nodule'"),
        ("+prompts.findings.mass.aliases=[effusion]", "'effusion'"),
    ],
)
def test_a_wrong_value_names_its_key_or_the_choices(override: str, part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        shipped("findings", override)
