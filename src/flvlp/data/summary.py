"""Counts of a data set, by part."""

from collections.abc import Mapping

import numpy as np

from flvlp.data.readers.files import FileSource

ALWAYS = ("studies", "patients", "frontal", "lateral", "pairs", "unreadable")  # shown even where they are 0


def count_parts(source: FileSource, errors: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Counts each part of the split, and all studies.

    Args:
        source: the data set.
        errors: what is wrong with a picture, by its path; "" or absent for one that can be read.

    Returns:
        part -> what is counted -> how many; for each class its positives.
    """
    return {
        part: _count(source, rows, errors)
        for part, rows in {"all": np.arange(len(source.studies)), **source.splits}.items()
    }


def _count(source: FileSource, rows: np.ndarray, errors: Mapping[str, str]) -> dict[str, int]:
    listing = source.listing
    laterals = sum(source.studies[row].has_lateral for row in rows)
    views = [path for row in rows for path in (listing.frontal_paths[row], listing.lateral_paths[row]) if path]
    counts = {
        "studies": len(rows),
        "patients": len({source.studies[row].patient_id for row in rows}),
        "frontal": len(rows),
        "lateral": laterals,
        "pairs": laterals,
        "further views": sum(len(listing.other_paths[row]) for row in rows),
        "unreadable": sum(bool(errors.get(path)) for path in views),
        "boxes": 0 if source.boxes is None else int(np.isin(source.boxes.study, rows).sum()),
    }
    if source.labels is not None:
        positives = (source.labels.values[rows] == 1).sum(axis=0)
        counts |= dict(zip(source.labels.names, positives.tolist(), strict=True))
    return counts


def table_of(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Returns the counts as lines of text, a column a part; other rows than `ALWAYS` are left out where all are 0."""
    parts = list(counts)
    names = [
        name for name in next(iter(counts.values())) if name in ALWAYS or any(counts[part][name] for part in parts)
    ]
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{part:>12}" for part in parts)]
    lines += [f"{name:<{width}}" + "".join(f"{counts[part][name]:>12,}" for part in parts) for name in names]
    return "\n".join(lines)
