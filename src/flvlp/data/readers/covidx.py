"""Reads COVIDx as published: a list without header and a folder of pictures for each part."""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flvlp.data.readers.bounded import read_bounded
from flvlp.data.readers.config import CovidxConfig
from flvlp.data.readers.files import FileSource, open_root, split_of
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Listing, Record, list_studies
from flvlp.data.readers.tables import find_table, hides_ids, listed
from flvlp.data.readers.tree import Tree
from flvlp.data.studies import Labels

log = logging.getLogger(__name__)

# Part of the split -> folder of its pictures, which also begins the name of its list.
FOLDERS = {"train": "train", "validation": "val", "test": "test"}
# Newest first, of two lists of a release the one with three classes. The names of Kaggle's copies (CXR-2 to CXR-4) do
# not tell the release; a list that somebody put beside them was meant to be read.
RELEASES = (
    *("_COVIDx_CXR-3A", "_COVIDx_CXR-3B", "_COVIDx9A", "_COVIDx9B", "_COVIDx8A", "_COVIDx8B", "_COVIDx7A", "_COVIDx7B"),
    *("_COVIDx6", "_COVIDx5", "_COVIDx4", "_COVIDx3", "_COVIDx2", ""),
)
# The words of the lists -> classes; a release has one set of words or the other.
NAMES = ("normal", "pneumonia", "COVID-19")
BINARY_NAMES = ("COVID-19",)
_ONE_HOT: dict[str, tuple[int, ...]] = {"normal": (1, 0, 0), "pneumonia": (0, 1, 0), "covid-19": (0, 0, 1)}
_BINARY: dict[str, tuple[int, ...]] = {"negative": (0,), "positive": (1,)}
_WORDS = (*_ONE_HOT, *_BINARY)


def layout(config: CovidxConfig) -> tuple[Expected, ...]:
    """Returns what a download holds; `train_list` and `test_list` name their lists."""
    named = {"train": config.train_list, "test": config.test_list}
    lists = {part: (name,) if name else tuple(f"{part}{end}.txt" for end in RELEASES) for part, name in named.items()}
    pictures = {part: tuple(f"{folder}/*".lstrip("/") for folder in _folders(part)) for part in lists}
    no_validation = "its own part: a fifth of the patients of train"
    return (
        *(Expected(f"list of {part}", names) for part, names in lists.items()),
        *(Expected(f"pictures of {part}", patterns, is_pictures=True) for part, patterns in pictures.items()),
        Expected("list of validation", ("val.txt",), is_required=False, without=no_validation),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of a list.

    Attributes:
        part: of the split.
        row: line of its list.
        words: patient and file name, still to be told apart: either may hold spaces.
        label: in small letters.
    """

    part: str
    row: int
    words: tuple[str, ...]
    label: str


def read_covidx(config: CovidxConfig) -> FileSource:
    """Reads the data set; each picture is a sample of its own, named as in `train/<file>`.

    Lines are `patient file label source`, with or without the source. A patient may hold spaces (`COVID 70`), a file
    name too: the label is the known word at the end, and the file name the last word before it unless more words make
    the name of a file that is there.

    The lists are `config.train_list` and `config.test_list`, else the first of `RELEASES` of which both are in the root
    (the newest whose names tell the release, `train.txt` and `test.txt` last); with `train.txt` also `val.txt`, where
    it is there. Lists with normal, pneumonia and COVID-19 give three classes, those with negative and positive one.
    Pictures are looked for in the folder of their part, in `data/`, in the folders of the other parts (lists of one
    release go with the pictures of another), `images` and the root, as named or as a converted copy.

    Raises:
        FileNotFoundError: a missing root, list or (with `missing_images=raise`) picture.
        ValueError: a line that cannot be read, words of both label sets, a picture listed with two labels or in two
            parts, two listed pictures in one file, or no study left.
    """
    root = open_root(config, "train and test lists and the folders train and test")
    hides = hides_ids(config)
    entries = [entry for part, path in find_lists(config, root).items() for entry in read_entries(path, part, hides)]
    known = _labels_of(root, entries)
    tree = Tree(root)
    first: dict[str, tuple[Record, _Entry]] = {}
    first_of: dict[str, _Entry] = {}  # by file: a picture in two lists has two ids
    clashes, torn = [], []
    strangers = 0
    for entry in entries:
        patient, name, file = _place(tree, entry)
        record = Record(f"{FOLDERS[entry.part]}/{name}", patient, (file,), row=entry.row)
        other, _ = first.setdefault(record.study_id, (record, entry))
        strangers += other.patient_id != patient
        if first_of.setdefault(file, entry).label != entry.label:
            clashes.append((entry.row, record.study_id))
        elif first_of[file].part != entry.part:
            torn.append((entry.row, record.study_id))
    if clashes:
        raise ValueError(
            f"{root}: another label than an earlier row has in {listed(clashes, hides)}; a picture has one label; "
            "correct the list"
        )
    if torn:
        raise ValueError(
            f"{root}: also listed in another part: {listed(torn, hides)}; a picture is in one part; take lists of one "
            "release (dataset.train_list, dataset.test_list), or correct them"
        )
    if len(first) < len(entries):
        log.warning(
            "%s: %d rows repeat a picture and are left out, %d of them under another patient",
            *(root, len(entries) - len(first), strangers),
        )
    records, listed_entries = zip(*first.values(), strict=True) if first else ((), ())
    listing = list_studies(config, root, records, tree)
    _check_files(root, listing, hides)
    kept = [listed_entries[number] for number in listing.kept]
    names = BINARY_NAMES if known is _BINARY else NAMES
    return FileSource(
        root,
        listing,
        split_of(config, records, kept=listing.kept, published=[entry.part for entry in listed_entries]),
        hides,
        labels=Labels(
            names,
            np.array([known[entry.label] for entry in kept], dtype=np.float32).reshape(-1, len(names)),
            is_exclusive=len(names) > 1,
        ),
    )


def find_lists(config: CovidxConfig, root: Path) -> dict[str, Path]:
    """Returns the list of each part, that of validation only where it is there.

    Raises:
        ValueError: if one of `train_list` and `test_list` is set: lists of two releases overlap.
        FileNotFoundError: if no release is there.
    """
    if bool(config.train_list) != bool(config.test_list):
        raise ValueError(
            f"dataset.train_list {config.train_list!r} and dataset.test_list {config.test_list!r}: one is set; the "
            "lists of one release go together; set both or neither"
        )
    if config.train_list:
        lists = {"train": root / config.train_list, "test": root / config.test_list}
    else:
        pairs = ([find_table(root, (f"{part}{release}.txt",)) for part in ("train", "test")] for release in RELEASES)
        train, test = next((pair for pair in pairs if all(pair)), (None, None))
        if train is None or test is None:
            raise FileNotFoundError(
                f"{root}: no train and test list of one release; looked for train and test with: "
                f"{', '.join(f'{release}.txt' for release in RELEASES)}; copy both lists, or set dataset.train_list "
                "and dataset.test_list"
            )
        lists = {"train": train, "test": test}
    validation = find_table(root, ("val.txt",))
    if validation and lists["train"].name.removesuffix(".gz") == "train.txt":
        lists = {"train": lists["train"], "validation": validation, "test": lists["test"]}
    log.info("%s: lists %s", root, ", ".join(path.name for path in lists.values()))
    return lists


def read_entries(path: Path, part: str, hides: bool = False) -> list[_Entry]:
    """Reads a list; `hides` keeps its lines out of messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: if it is no text in UTF-8, holds more than `open_bounded` gives, or a line is not `patient file
            label source`.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such list; dataset.train_list and dataset.test_list name files below dataset.root; set them"
        )
    try:
        lines = read_bounded(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}, byte {error.start}); save the list as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}); a .gz must be a whole gzip file; copy it again") from error
    entries = []
    broken = []
    for row, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        # From the right: without the source the label is the last word, with it the one before.
        at = next((place for place in (-1, -2) if len(words) >= -place and words[place].lower() in _WORDS), 0)
        head = words[:at] if at else []
        if len(head) < 2:
            broken.append((row, line))
        else:
            entries.append(_Entry(part, row, tuple(head), words[at].lower()))
    if broken:
        raise ValueError(
            f"{path}: cannot be read: {listed(broken, hides, longest=80)}; a line is patient, file, label and "
            f"maybe source, separated by spaces, the label one of: {', '.join(_WORDS)}; correct the list"
        )
    return entries


def _labels_of(root: Path, entries: Sequence[_Entry]) -> dict[str, tuple[int, ...]]:
    """Returns the label set that the lists use."""
    binary = [(entry.row, entry.label) for entry in entries if entry.label in _BINARY]
    if binary and len(binary) < len(entries):
        raise ValueError(
            f"{root}: words of both label sets: {', '.join(_BINARY)} in {len(binary)} of {len(entries)} rows, "
            f"{', '.join(_ONE_HOT)} in the others; lists are of one release; set dataset.train_list and "
            "dataset.test_list"
        )
    return _BINARY if binary else _ONE_HOT


def _folders(own: str) -> tuple[str, ...]:
    """Returns where the pictures of a part may lie, its own folder first."""
    return (own, f"data/{own}", *(other for other in FOLDERS.values() if other != own), "images", "")


def _place(tree: Tree, entry: _Entry) -> tuple[str, str, str]:
    """Returns patient, file name and path below the root; tells the first two apart by the files that are there."""
    own = FOLDERS[entry.part]
    folders = _folders(own)
    for last in range(len(entry.words) - 1, 0, -1):
        name = " ".join(entry.words[last:])
        for folder in folders:
            path = f"{folder}/{name}".lstrip("/")
            if tree.find(path):
                return " ".join(entry.words[:last]), name, path
    return " ".join(entry.words[:-1]), entry.words[-1], f"{own}/{entry.words[-1]}"


def _check_files(root: Path, listing: Listing, hides: bool) -> None:
    """Two names that differ in the suffix alone lead to one file where one of the two was converted or is missing."""
    seen: set[str] = set()
    doubled = []
    for study, path in zip(listing.studies, listing.frontal_paths, strict=True):
        if path in seen:
            doubled.append((study.row, study.study_id))
        seen.add(path)
    if doubled:
        raise ValueError(
            f"{root}: the file of another picture stands for {listed(doubled, hides)}; names that differ in the suffix "
            "alone need files of their own; copy the pictures under their published names"
        )
