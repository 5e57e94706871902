"""Id lists that users have: of the publisher, of MRM, ECAMP, BenchX and others."""

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from flvlp.data.readers.bounded import read_bounded

log = logging.getLogger(__name__)

PART_FILES = {
    "train": ("train_list.txt", "train.txt", "train_100.txt", "train.csv"),
    "validation": ("val_list.txt", "val.txt", "valid.txt", "validation.txt", "val.csv", "valid.csv"),
    "test": ("test_list.txt", "test.txt", "test.csv"),
}
_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


def key_of(name: str, folders: int = 0) -> str:
    """Returns how a list names a picture: the file name without suffix, after its last `folders` folders.

    >>> key_of("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", folders=3)
    'train/patient00001/study1/view1_frontal'
    """
    path = PurePosixPath(name.replace("\\", "/"))
    stem = path.name
    while (suffix := PurePosixPath(stem).suffix) and suffix.lower() in _SUFFIXES:
        stem = stem[: -len(suffix)]
    parts = [part for part in path.parent.parts if part != "/"]
    return "/".join([*(parts[-folders:] if folders else ()), stem])


def read_list(path: Path, folders: int = 0) -> list[str]:
    """Reads one list: a picture a line, what follows a comma, tab or space after it (labels) is left out.

    A first line with neither a digit nor a picture's suffix is a header. Names that hold spaces end at their suffix.

    Returns:
        Keys (`key_of`) in the order of the lines.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no text in UTF-8, or is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list; it must name one picture a line; set dataset.split_lists")
    try:
        lines = read_bounded(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}, byte {error.start}); save the list as UTF-8") from error
    names = [name for line in lines if (name := _first_field(line))]
    if names and not any(map(str.isdigit, names[0])) and not names[0].lower().endswith(_SUFFIXES):
        names = names[1:]
    if not names:
        raise ValueError(f"{path}: names no picture; a list has one picture a line; set dataset.split_lists")
    return [key_of(name, folders) for name in names]


def _first_field(line: str) -> str:
    """Returns what a line names, "" where it holds separators alone."""
    line = line.strip().strip('"')
    lowered = line.lower()
    ends = [lowered.find(suffix) + len(suffix) for suffix in _SUFFIXES if suffix in lowered]
    if ends:
        return line[: min(ends)]
    return next(iter(line.replace("\t", " ").replace(",", " ").split()), "")


def read_lists(folder: Path, keys: Sequence[str], folders: int = 0) -> list[str]:
    """Returns the part of each key by the lists in `folder` (`PART_FILES`), "" where no list names it.

    A picture in two lists (MRM's for SIIM) stays in the last of train, validation, test, with a warning.

    Raises:
        FileNotFoundError: no folder, or no list for a part.
        ValueError: no picture of the data set is in any list.
    """
    part_of: dict[str, str] = {}
    torn: set[str] = set()
    for part, names in PART_FILES.items():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"{folder}: no list for {part} ({', '.join(names)}); dataset.split_lists must name the folder of all "
                "three; set dataset.split_lists"
            )
        keys_of_part = set(read_list(path, folders))
        torn |= keys_of_part & part_of.keys()
        part_of |= dict.fromkeys(keys_of_part, part)
    if torn:
        log.warning(
            "%s: %d pictures are in two lists; each stays in the last one (test, then validation)", folder, len(torn)
        )
    parts = [part_of.get(key, "") for key in keys]
    if not any(parts):
        raise ValueError(
            f"{folder}: none of the {len(part_of)} listed pictures is in the data set (for example {min(part_of)!r}; "
            f"the data set's own are like {keys[0]!r}); the lists must be of this data set; set dataset.split_lists"
        )
    return parts
