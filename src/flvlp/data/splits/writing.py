"""Writes the id lists of a split, with their sha256, for people and for other programs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flvlp.data.splits.fractions import label_fraction
from flvlp.data.splits.patients import list_hash
from flvlp.data.studies import StudySource


def write_lists(folder: Path, source: StudySource, fractions: Sequence[float], seeds: Sequence[int]) -> dict[str, Any]:
    """Writes `<part>.txt` for each part, `train-<fraction>-seed<s>.txt` for each label fraction, and `split.json`.

    The lists hold ids of studies: local files, to be kept as the data set's agreement says.

    Returns:
        What `split.json` holds: name of the split and, for each list, studies and sha256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lists = dict(source.splits)
    patients = [study.patient_id for study in source.studies]
    for seed in seeds:
        for fraction in fractions:
            if fraction < 1:
                rows = label_fraction(source.splits["train"], patients, source.labels, fraction, seed)
                lists[f"train-{fraction:g}-seed{seed}"] = rows
    content: dict[str, Any] = {"split": source.split_name, "lists": {}}
    for name, rows in lists.items():
        ids = [source.studies[row].study_id for row in np.sort(rows)]
        (folder / f"{name}.txt").write_text("".join(f"{study_id}\n" for study_id in ids), encoding="utf-8")
        content["lists"][name] = {"studies": len(ids), "sha256": list_hash(ids)}
    (folder / "split.json").write_text(json.dumps(content, indent=1) + "\n")
    return content
