"""From what publishers write to 1, 0 or missing."""

from collections.abc import Sequence

import numpy as np

from flvlp.data.readers.tables import Table, listed
from flvlp.data.studies import Labels

CHEXPERT5 = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
CHEXPERT14 = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
# What -1 ("uncertain") of CheXpert's labeller becomes. `chexpert5` is the mix of GLoRIA and MGCA for the five classes
# of the competition; the other classes have no agreed reading.
_CHEXPERT5_UNCERTAIN = {"Atelectasis": 1, "Edema": 1, "Pleural Effusion": 1, "Cardiomegaly": 0, "Consolidation": 0}
_MISSING = float("nan")


def uncertain_value(policy: str, name: str) -> float:
    """Returns what an uncertain label of class `name` becomes: 1, 0 or NaN.

    Args:
        policy: `u_ones`, `u_zeros`, `ignore` or `chexpert5`.
        name: of the class.

    Raises:
        ValueError: an unknown policy.
    """
    match policy:
        case "u_ones":
            return 1.0
        case "u_zeros":
            return 0.0
        case "ignore":
            return _MISSING
        case "chexpert5":
            return _CHEXPERT5_UNCERTAIN.get(name, _MISSING)
    raise ValueError(f"uncertain_value: unknown policy {policy!r}; known: u_ones, u_zeros, ignore, chexpert5")


def chexpert_labels(
    table: Table, names: Sequence[str], uncertain: str, unmentioned: str, hides: bool = False
) -> Labels:
    """Reads the columns `names` of a table that CheXpert's labeller wrote.

    Args:
        table: holds a column for each name: 1, 0, -1 or blank, with or without a decimal.
        names: classes.
        uncertain: policy for -1, see `uncertain_value`.
        unmentioned: what a blank becomes: `zero` or `ignore` (missing).
        hides: True keeps values out of messages: where columns have moved, one is an id.

    Raises:
        ValueError: another value; names rows and column.
    """
    blank = 0.0 if unmentioned == "zero" else _MISSING
    columns = []
    for name in names:
        known = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": blank}
        known |= dict.fromkeys(("-1", "-1.0"), uncertain_value(uncertain, name))
        columns.append(known_values(table, name, known, hides))
    return Labels(tuple(names), np.stack(columns, axis=1))


def known_values(table: Table, column: str, known: dict[str, float], hides: bool = False) -> np.ndarray:
    """Translates a column by `known`, (n,) float32.

    Raises:
        ValueError: a value that `known` does not have; names the rows and what is known.
    """
    values = table.columns[column]
    unknown = [(int(line), value) for line, value in zip(table.lines, values, strict=True) if value not in known]
    if unknown:
        raise ValueError(
            f"{table.path}: column {column!r} has an unknown value in {listed(unknown, hides, longest=20)}; "
            f"known: {', '.join(name or 'blank' for name in known)}; correct the table"
        )
    return np.array([known[value] for value in values], dtype=np.float32)
