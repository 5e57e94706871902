"""Reads SIIM-ACR Pneumothorax, both stages: a table of run lengths and a tree of DICOM pictures, or a PNG mirror."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flvlp.data.readers.config import SIIMConfig
from flvlp.data.readers.files import FileSource, open_root, split_of
from flvlp.data.readers.labels import known_values
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.masks import FileMasks
from flvlp.data.readers.rle import NOTHING, RLEMasks, relative_runs
from flvlp.data.readers.tables import Table, find_table, hides_ids, listed, read_table
from flvlp.data.readers.tree import PICTURE_SUFFIXES, Tree, stem_of
from flvlp.data.splits.lists import key_of
from flvlp.data.studies import Labels, Masks

log = logging.getLogger(__name__)

NAMES = ("Pneumothorax",)
# Stage 2 holds the pictures of stage 1, those of its test part too, so it comes first.
STAGES = {"stage_2_train.csv": "stage 2", "train-rle.csv": "stage 1"}
# A widely used PNG mirror (siim-acr-pneumothorax/ with png_images/ and png_masks/) names the pictures anew; its own
# tables lead from the new names to the published ones.
MIRROR = ("stage_1_train_images.csv", "stage_1_test_images.csv")
MIRROR_MASKS = "png_masks"
PUBLISHED_SHAPE = (1024, 1024)  # height, width of the pictures that the run lengths are of
_COLUMNS = ("ImageId", "EncodedPixels")
_MIRROR_COLUMNS = ("new_filename", "ImageId", "has_pneumo")
# Copies of the data set keep pictures of the masks under the names of the radiographs.
_MASK_FOLDERS = ("mask", "annotation")


def layout(config: SIIMConfig) -> tuple[Expected, ...]:
    """Returns what a download holds; `csv` names the table, and pictures may lie in any folder but those of masks."""
    tables, columns = ((config.csv,), _COLUMNS) if config.csv else ((*STAGES, MIRROR[0]), ())
    # A link to a folder is followed in the root alone, as by the reader.
    return (
        Expected("table of masks", tables, columns),
        Expected("pictures", ("*", "*/**/*"), is_pictures=True, skips=_MASK_FOLDERS),
    )


@dataclass(slots=True)
class _Picture:
    """What the tables say of one picture; rows are lines, 0 for none.

    Attributes:
        row: its first.
        masks: run lengths.
        row_of_mask, row_of_nothing: the first that has a mask, and the first that says that there is none.
        new_name: in the PNG mirror.
    """

    row: int
    masks: list[str] = field(default_factory=list)
    row_of_mask: int = 0
    row_of_nothing: int = 0
    new_name: str = ""


def read_siim(config: SIIMConfig) -> FileSource:
    """Reads the data set; each picture is a sample of its own, however many rows of masks it has.

    The table is `config.csv`, else that of stage 2, else that of stage 1, else those of the PNG mirror, whose masks are
    pictures too. Pictures are looked for by name in all folders below the root but those of masks:
    `dicom-images-train/<study>/<series>/<ImageId>.dcm`, a flat folder, or a converted copy of either.

    `patient_id` is the ImageId. The DICOM headers hold a PatientID, but 12,000 headers take too long to read at every
    start; and the tables say nothing of patients.

    Raises:
        FileNotFoundError: a missing root, table, mask of the mirror or (with `missing_images=raise`) picture.
        ValueError: a missing column, run lengths that cannot be read, a picture that has masks in one row and none in
            another, or no study left.
    """
    root = open_root(config, " or ".join(STAGES))
    hides = hides_ids(config)
    mirror = _read_mirror(root, hides)
    path = find_table(root, (config.csv,)) or root / config.csv if config.csv else find_table(root, tuple(STAGES))
    if path is None and not mirror:
        raise FileNotFoundError(
            f"{root}: neither {' nor '.join(STAGES)} is there; one of them must hold the masks; set dataset.root to "
            "the folder of the table, or dataset.csv to its name"
        )
    if path is not None:
        stage = STAGES.get(path.name.removesuffix(".gz"), "dataset.csv")
        log.info("%s: the masks are read from this table (%s)", path, stage)
        key = "dataset.csv" if config.csv else "dataset.root"
        table = read_table(path, key, {name: name for name in _COLUMNS}, hides=hides)
        pictures = _pictures_of(table, hides)
    else:
        log.info("%s: the masks are the pictures in %s (PNG mirror of stage 1)", root, MIRROR_MASKS)
        path, pictures = root / MIRROR[0], mirror
    tree, file_of = _walked(root)
    records = []
    for name, picture in pictures.items():
        new_name = mirror[name].new_name if name in mirror else name
        file = file_of.get(name) or file_of.get(stem_of(new_name)) or f"dicom-images-train/{name}.dcm"
        records.append(Record(name, name, (file,), row=picture.row))
    listing = list_studies(config, path, records, tree)
    ids = [study.study_id for study in listing.studies]
    kept = [pictures[picture_id] for picture_id in ids]
    keys = list(pictures)
    if config.split == "siim/benchx":  # its lists name the pictures as the PNG mirror does
        keys = [key_of(mirror[name].new_name) if name in mirror else name for name in pictures]
    masks: Masks = RLEMasks([tuple(picture.masks) for picture in kept], PUBLISHED_SHAPE)
    if pictures is mirror:
        masks = FileMasks(_mirror_masks(root, kept, hides), [picture.row for picture in kept], hides)
    return FileSource(
        root,
        listing,
        split_of(config, records, kept=listing.kept, keys=keys),
        hides,
        labels=Labels(NAMES, np.array([[picture.row_of_mask > 0] for picture in kept], dtype=np.float32)),
        masks=masks,
    )


def _pictures_of(table: Table, hides: bool) -> dict[str, _Picture]:
    """Gathers the rows of each picture, a repeated mask once, in the order of the table."""
    pictures: dict[str, _Picture] = {}
    broken: list[tuple[int, str | None]] = []
    reason = ""
    repeated = 0
    for line, name, text in zip(table.lines.tolist(), *(table.columns[name] for name in _COLUMNS), strict=True):
        picture = pictures.setdefault(stem_of(name), _Picture(line))
        if text in NOTHING:
            picture.row_of_nothing = picture.row_of_nothing or line
            continue
        picture.row_of_mask = picture.row_of_mask or line
        if text in picture.masks:
            repeated += 1
            continue
        picture.masks.append(text)
        try:
            relative_runs(text, PUBLISHED_SHAPE)
        except ValueError as error:
            broken.append((line, name))
            # Where columns have moved, what is no number is an id.
            reason = reason or ("no run lengths" if hides else str(error))
    if broken:
        raise ValueError(f"{table.path}: no mask can be read from {listed(broken, hides)}; the first: {reason}")
    torn = [(picture.row_of_nothing, name) for name, picture in pictures.items() if _is_torn(picture)]
    if torn:
        first = pictures[torn[0][1]].row_of_mask
        raise ValueError(
            f"{table.path}: no mask (-1) by {listed(torn, hides)}, but a mask by another row of the same picture (the "
            f"first: row {first}); a picture has masks or none; correct the table"
        )
    if repeated:
        log.info("%s: %d rows repeat a mask and are left out", table.path, repeated)
    return pictures


def _is_torn(picture: _Picture) -> bool:
    return picture.row_of_mask > 0 and picture.row_of_nothing > 0


def _read_mirror(root: Path, hides: bool) -> dict[str, _Picture]:
    """Reads the tables of the PNG mirror, {} where they are not there."""
    pictures: dict[str, _Picture] = {}
    for path in (path for name in MIRROR if (path := find_table(root, (name,)))):
        table = read_table(path, "dataset.root", {name: name for name in _MIRROR_COLUMNS}, hides=hides)
        targets = known_values(table, "has_pneumo", {"1": 1.0, "0": 0.0}, hides)
        for line, new_name, name, target in zip(
            table.lines.tolist(), table.columns["new_filename"], table.columns["ImageId"], targets, strict=True
        ):
            pictures[stem_of(name)] = _Picture(line, row_of_mask=line if target else 0, new_name=new_name)
    return pictures


def _mirror_masks(root: Path, pictures: list[_Picture], hides: bool) -> list[str]:
    """Returns the path of each picture's mask in the PNG mirror, "" where it has none."""
    present = Tree(root).names(MIRROR_MASKS)
    missing = [
        (picture.row, picture.new_name)
        for picture in pictures
        if picture.row_of_mask and picture.new_name not in present
    ]
    if missing:
        raise FileNotFoundError(
            f"{root / MIRROR_MASKS}: {listed(missing, hides, 'missing mask file')}; every picture with has_pneumo 1 "
            "has one; complete the folder, or add train-rle.csv"
        )
    return [str(root / MIRROR_MASKS / picture.new_name) if picture.row_of_mask else "" for picture in pictures]


class _WalkedTree(Tree):
    """A tree of folders that were all listed: 12,000 folders of one picture each are not listed a second time."""

    def __init__(self, root: Path, names: dict[str, set[str]]) -> None:
        super().__init__(root)
        self._walked = names

    def names(self, folder: str) -> set[str]:
        return self._walked.get(folder, set())


def _walked(root: Path) -> tuple[Tree, dict[str, str]]:
    """Walks the folders below the root once, but those of masks.

    Links to folders are followed where they lie in the root itself (deeper ones could lead in circles). Of pictures
    with the same name the first counts, folders in the order of their names: DICOM before copies.

    Returns:
        The tree, and the path below the root of each picture by its name without suffix.
    """
    names: dict[str, set[str]] = {}
    file_of: dict[str, str] = {}
    top = os.fspath(root)
    with os.scandir(top) as entries:
        links = sorted(entry.path for entry in entries if entry.is_symlink() and entry.is_dir())
    for start in (top, *(link for link in links if not _holds_masks(Path(link).name))):
        for folder, subfolders, files in os.walk(start):
            subfolders[:] = sorted(name for name in subfolders if not _holds_masks(name))
            relative = folder[len(top) :].strip(os.sep)
            names[relative] = set(files)
            for name in files:
                if name.lower().endswith(PICTURE_SUFFIXES):
                    file_of.setdefault(stem_of(name), f"{relative}/{name}".lstrip("/"))
    log.info("%s: %d pictures in %d folders", root, len(file_of), len(names))
    return _WalkedTree(root, names), file_of


def _holds_masks(folder: str) -> bool:
    return any(word in folder.lower() for word in _MASK_FOLDERS)
