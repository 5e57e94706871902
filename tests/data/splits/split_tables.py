"""Hand-made tables of studies that splits are made from, and lists on disk."""

from collections.abc import Sequence
from pathlib import Path

from flvlp.data.splits.lists import PART_FILES
from flvlp.data.splits.making import Split, SplitTable, make_split
from flvlp.data.splits.registry import SPLITS

NAMES = sorted([*SPLITS, "nih14/patient", "nih14/lists"])
SHUFFLES = [name for name in NAMES if name in SPLITS and SPLITS[name].how == "shuffle"]


def table_of(name: str, parts: Sequence[str], patients: Sequence[str] = (), ids: Sequence[str] = ()) -> SplitTable:
    """One study a published part; each is its own patient unless told."""
    ids = ids or [f"{number:05d}" for number in range(len(parts))]
    return SplitTable(name.partition("/")[0], ids, patients or ids, parts, "train_list.txt is not in /data", ids)


def make(name: str, table: SplitTable, seed: int = 0, lists: Path | str = "", fraction: float = 0.1) -> Split:
    return make_split(name, table, seed=seed, validation_fraction=fraction, lists=str(lists))


def ids_of(split: Split, table: SplitTable) -> dict[str, list[str]]:
    return {part: sorted(table.study_ids[row] for row in rows) for part, rows in split.parts.items()}


def write_lists(folder: Path, table: SplitTable, parts: Sequence[str]) -> Path:
    for part, names in PART_FILES.items():
        lines = [f"{key}.png 0\n" for key, where in zip(table.keys, parts, strict=True) if where == part]
        (folder / names[0]).write_text("".join(lines))
    return folder
