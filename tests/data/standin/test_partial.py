"""A partial copy of a data set: what is kept of it is what it is in the whole."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flvlp.data.phantom.standin import make_standin
from flvlp.data.readers.base_config import PublishedConfig
from flvlp.data.readers.build import READERS, build_source
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.tree import PICTURE_SUFFIXES
from flvlp.data.summary import ALWAYS, count_parts, table_of

LOST = 0.35
CASES = [
    *((name, {}) for name in READERS),
    *((name, {"split": f"{name}/patient"}) for name in ("nih14", "mimic_cxr", "chexpert", "covidx")),
    ("rsna", {"split": "rsna/mgca"}),
    ("object_cxr", {"split": "object_cxr/mgca"}),
    ("chexpert", {"unit": "frontal", "split": "chexpert/mgca"}),
    ("chexpert", {"unit": "image", "classes": "all"}),
    ("mimic_cxr", {"needs_report": False}),
]


def what_is_known(source: FileSource) -> dict[str, dict[str, Any]]:
    """Study id -> all that a reader says of the study, but which of its views is read."""
    part_of = {int(row): part for part, rows in source.splits.items() for row in rows}
    known = {}
    for row, study in enumerate(source.studies):
        mask = None if source.masks is None else source.masks.of(row)
        known[study.study_id] = {
            "part": part_of.get(row),
            "patient": study.patient_id,
            "report": study.report,
            "line": study.row,
            "labels": None if source.labels is None else source.labels.values[row].tobytes(),
            "boxes": None if source.boxes is None else [values.tobytes() for values in source.boxes.of(row)],
            "mask": None if mask is None or not mask.any() else mask.tobytes(),
        }
    return known


def read(config: PublishedConfig) -> FileSource:
    source = build_source(config)
    assert isinstance(source, FileSource)
    return source


@pytest.mark.parametrize(("name", "knobs"), CASES)
def test_labels_boxes_masks_and_part_of_each_study_are_those_of_the_whole(
    name: str, knobs: dict[str, Any], configure: Callable[..., PublishedConfig], tmp_path: Path
) -> None:
    whole = make_standin(configure(name))
    partial = tmp_path / name
    shutil.copytree(whole, partial)
    pictures = [path for path in sorted(partial.rglob("*")) if path.name.lower().endswith(PICTURE_SUFFIXES)]
    for path in random.Random(3).sample(pictures, int(LOST * len(pictures))):
        path.unlink()
    of_whole = what_is_known(read(configure(name, root=str(whole), **knobs)))
    source = read(configure(name, root=str(partial), missing_images="drop", **knobs))
    of_partial = what_is_known(source)
    assert 0 < len(of_partial) < len(of_whole)
    for study, known in of_partial.items():
        assert known == of_whole[study], f"{study} is another than in the whole"
    counts = count_parts(source, {})
    for why in source.listing.dropped:
        listed = source.split.listed
        assert listed is not None
        in_parts = sum(counts[part][f"dropped: {why}"] for part in listed)
        assert in_parts == np.isin(np.concatenate(list(listed.values())), source.listing.dropped[why]).sum()
    assert counts["all"]["dropped: whose frontal file is missing"] > 0


def test_the_table_of_counts_always_shows_the_same_rows(configure: Callable[..., PublishedConfig]) -> None:
    counts = count_parts(read(configure("nih14")), {})
    lines = table_of(counts).splitlines()
    assert lines[0].split() == ["all", "train", "validation", "test"]
    assert set(ALWAYS) <= set(counts["all"])
    for name in ALWAYS:
        assert sum(line.startswith(name) for line in lines) == 1, name
