"""Writes the id lists of a split, with their sha256, for people and for other programs."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flvlp.data.splits.fractions import label_fraction
from flvlp.data.splits.patients import list_hash
from flvlp.data.studies import StudySource


def write_lists(
    folder: Path, source: StudySource, fractions: Sequence[float], seeds: Sequence[int]
) -> tuple[Path, dict[str, Any]]:
    """Writes `<part>.txt` for each part, `train-<fraction>-seed<s>.txt` for each label fraction, and `split.json`.

    They go to a folder below `folder` that is named by the split and the first digits of its hash, so that another
    split seed or copy of the data set overwrites nothing; other fractions of the same split do. The lists hold ids of
    studies: local files, to be kept as the data set's agreement says.

    Returns:
        The folder, and what `split.json` holds: name of the split and, for each list, studies and sha256.
    """
    rows_of = dict(source.splits)
    patients = [study.patient_id for study in source.studies]
    for seed in seeds:
        for fraction in fractions:
            if fraction < 1:
                rows = label_fraction(source.splits["train"], patients, source.labels, fraction, seed)
                rows_of[f"train-{fraction:g}-seed{seed}"] = rows
    ids_of = {name: [source.studies[row].study_id for row in rows] for name, rows in rows_of.items()}
    lists = {name: {"studies": len(ids), "sha256": list_hash(ids)} for name, ids in ids_of.items()}
    digest = list_hash([f"{part} {lists[part]['sha256']}" for part in source.splits])
    made = folder / f"{source.split_name.replace('/', '-')}-{digest[:8]}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for name, ids in ids_of.items():
        (made / f"{name}.txt").write_text("".join(f"{study_id}\n" for study_id in ids), encoding="utf-8")
    content = {"split": source.split_name, "sha256": digest, "lists": lists}
    (made / "split.json").write_text(json.dumps(content, indent=1) + "\n")
    return made, content
