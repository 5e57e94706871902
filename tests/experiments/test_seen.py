"""A task knows which of its test patients the encoders were pre-trained on."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flvlp.data.readers.config import IUXrayConfig, MimicCxrConfig, MSCXRConfig, NIH14Config, PairsConfig, PhantomConfig
from flvlp.data.studies import Study
from support.seen import count_seen, seen_patients, write_seen

CONFIG = NIH14Config(name="nih14", root="/data/nih")


def source_of(*patients: str, report: str = "Clear.", train: int = 2) -> Any:
    """Returns a data set of one study a patient; the first `train` are trained on, the next one selects."""
    studies = [Study(f"study-{name}", name, report, has_lateral=False) for name in patients]
    splits = {"train": np.arange(train), "validation": np.arange(train, train + 1)}
    listing = SimpleNamespace(frontal_paths=[f"/here/{name}.png" for name in patients])
    return SimpleNamespace(studies=studies, splits=splits, listing=listing, root=Path("/here"))


def given_in(folder: Path) -> Any:
    return SimpleNamespace(name="run", folder=folder)


def seen(folder: Path, source: Any, config: Any = CONFIG) -> Any:
    return seen_patients(folder, config, source)


def test_trained_and_selected_patients_are_known_again_in_any_order(tmp_path: Path) -> None:
    write_seen(tmp_path, CONFIG, source_of("a", "b", "c", "d"))
    assert seen(tmp_path, source_of("d", "c", "b", "a")) == {"trained": {"a", "b"}, "selected": {"c"}}


def test_they_are_known_by_the_encoders_of_a_run_too(tmp_path: Path) -> None:
    write_seen(tmp_path, CONFIG, source_of("a", "b", "c"))
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "encoders.safetensors").touch()
    assert seen(tmp_path / "encoders", source_of("a")) == {"trained": {"a"}, "selected": set()}


def test_other_sections_of_the_report_make_no_other_patient(tmp_path: Path) -> None:
    write_seen(tmp_path, CONFIG, source_of("a", "b", "c"))
    assert seen(tmp_path, source_of("a", "b", "c", report="")) == {"trained": {"a", "b"}, "selected": {"c"}}


@pytest.mark.parametrize(
    ("before", "now", "is_same"),
    [
        (CONFIG, NIH14Config(name="nih14", root="/elsewhere"), True),
        (CONFIG, IUXrayConfig(name="iu_xray", root="/data/nih"), False),
        (CONFIG, NIH14Config(name="nih14"), False),  # a stand-in
        (NIH14Config(name="nih14"), NIH14Config(name="nih14", standin_seed=2), False),
        (PhantomConfig(name="phantom", seed=0), PhantomConfig(name="phantom", seed=0, studies=100), True),
        (PhantomConfig(name="phantom", seed=0), PhantomConfig(name="phantom", seed=2), False),
        (MimicCxrConfig(name="mimic_cxr", root="/a"), MSCXRConfig(name="ms_cxr", root="/b"), True),  # the same people
        (MimicCxrConfig(name="mimic_cxr"), MSCXRConfig(name="ms_cxr"), True),  # of phantoms
        (MimicCxrConfig(name="mimic_cxr"), MSCXRConfig(name="ms_cxr", root="/b"), False),
    ],
)
def test_patients_of_the_same_id_are_the_same_in_the_same_data_only(
    tmp_path: Path, before: Any, now: Any, *, is_same: bool
) -> None:
    write_seen(tmp_path, before, source_of("a", "b", "c"))
    assert seen(tmp_path, source_of("a", "b", "c"), now)["trained"] == ({"a", "b"} if is_same else set())


def test_pairs_are_known_by_their_pictures_whatever_the_row(tmp_path: Path) -> None:
    config = PairsConfig(name="pairs", csv="/here/one.csv")
    write_seen(tmp_path, config, source_of("a", "b", "c"))
    now = source_of("a", "b", "c")
    now.root, now.listing.frontal_paths = Path("/there"), ["/there/c.png", "/there/x.png", "/there/a.png"]
    assert seen(tmp_path, now, config) == {"trained": {"c"}, "selected": {"a"}}


def test_another_study_of_a_seen_patient_counts(tmp_path: Path) -> None:
    write_seen(tmp_path, CONFIG, source_of("a", "b", "c"))
    now = source_of("a", "b", "c")
    now.studies.append(replace(now.studies[0], study_id="later visit"))
    assert count_seen(given_in(tmp_path), CONFIG, now, {"a"}, is_allowed=True) == {"trained": 1, "selected": 0}


def test_what_the_encoders_started_from_has_seen_counts(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for folder in (first, second, third):
        folder.mkdir()
    write_seen(first, CONFIG, source_of("a", "b", "c"))
    write_seen(second, CONFIG, source_of("d", "e", "f"), init_from=str(first))
    everyone = source_of("a", "b", "c", "d", "e", "f")
    assert seen(second, everyone) == {"trained": {"a", "b", "d", "e"}, "selected": {"c", "f"}}
    write_seen(third, CONFIG, source_of("d", "e", "f"), init_from=str(tmp_path / "elsewhere"))
    assert seen(third, everyone) is None, "what they started from is unknown, and so are they"


def test_testing_on_trained_patients_is_refused_unless_allowed(tmp_path: Path) -> None:
    write_seen(tmp_path, CONFIG, source_of("a", "b", "c", "d"))
    source = source_of("a", "b", "c", "d")
    with pytest.raises(ValueError, match=r"2 of 3 test patients are in the training part.*allow_seen"):
        count_seen(given_in(tmp_path), CONFIG, source, {"a", "b", "d"}, is_allowed=False)
    allowed = count_seen(given_in(tmp_path), CONFIG, source, {"c", "d"}, is_allowed=False)
    assert allowed == {"trained": 0, "selected": 1}


def test_encoders_without_a_list_are_unknown_and_those_of_nobody_have_seen_nobody(tmp_path: Path) -> None:
    source = source_of("a", "b", "c")
    assert count_seen(given_in(tmp_path), CONFIG, source, {"a"}, is_allowed=False) is None
    nobody: Any = SimpleNamespace(name="random", folder=None)
    assert count_seen(nobody, CONFIG, source, {"a"}, is_allowed=False) == {"trained": 0, "selected": 0}
