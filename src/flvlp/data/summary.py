"""Counts of a data set, by part."""

from collections.abc import Mapping

import numpy as np

from flvlp.data.readers.files import FileSource

# Shown even where they are 0.
ALWAYS = (
    "studies",
    "patients",
    "frontal views",
    "lateral views (pairs)",
    "unreadable pictures",
    "dropped: without text",
)


def count_parts(source: FileSource, errors: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Counts each part of the split, and all studies.

    Args:
        source: the data set.
        errors: what is wrong with a picture, by its path; "" or absent for one that can be read.

    Returns:
        part -> what is counted -> how many; `+ <class>` for its positives, `dropped: <why>` for studies that are left
        out and in none of the other figures. A part lacks these where the split is of what was kept (a pool).
    """
    parts = {"all": np.arange(len(source.studies)), **source.splits}
    counts = {part: _count(source, rows, errors) for part, rows in parts.items()}
    for why, dropped in source.listing.dropped.items():
        counts["all"][f"dropped: {why}"] = len(dropped)
        for part, rows in (source.split.listed or {}).items():
            counts.setdefault(part, dict.fromkeys(ALWAYS, 0))[f"dropped: {why}"] = int(np.isin(rows, dropped).sum())
    return counts


def _count(source: FileSource, rows: np.ndarray, errors: Mapping[str, str]) -> dict[str, int]:
    listing = source.listing
    views = [path for row in rows for path in (listing.frontal_paths[row], listing.lateral_paths[row]) if path]
    counts = {
        "studies": len(rows),
        "patients": len({source.studies[row].patient_id for row in rows}),
        "frontal views": len(rows),
        "lateral views (pairs)": sum(source.studies[row].has_lateral for row in rows),
        "further views, not read": sum(len(listing.other_paths[row]) for row in rows),
        "unreadable pictures": sum(bool(errors.get(path)) for path in views),
        "boxes": 0 if source.boxes is None else int(np.isin(source.boxes.study, rows).sum()),
    }
    if source.labels is not None:
        values = source.labels.values[rows]
        for name, positives in zip(source.labels.names, (values == 1).sum(axis=0).tolist(), strict=True):
            counts[f"+ {name}"] = positives
        counts["labels that are missing"] = int(np.isnan(values).sum())
    return counts


def table_of(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Returns the counts as lines of text, a column a part; other rows than `ALWAYS` are left out where all are 0."""
    parts = list(counts)
    names = [
        name for name in next(iter(counts.values())) if name in ALWAYS or any(counts[part].get(name) for part in parts)
    ]
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{part:>12}" for part in parts)]
    for name in names:
        values = (f"{counts[part][name]:,}" if name in counts[part] else "?" for part in parts)
        lines.append(f"{name:<{width}}" + "".join(f"{value:>12}" for value in values))
    return "\n".join(lines)
