"""Reads CheXpert as published, small or full: tables of pictures, folders of patients, maybe the test labels."""

import logging
from collections.abc import Sequence

import numpy as np

from flvlp.data.readers.chexpert_tables import PARTS, VIEW_COLUMN, Folders, Picture, read_pictures
from flvlp.data.readers.config import CheXpertConfig
from flvlp.data.readers.files import FileSource, open_root
from flvlp.data.readers.labels import CHEXPERT5, CHEXPERT14, chexpert_labels
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.pool_split import split_or_pool
from flvlp.data.readers.privacy import without_details
from flvlp.data.readers.tables import hides_ids, read_table
from flvlp.data.readers.tree import stem_of
from flvlp.data.splits.lists import key_of
from flvlp.data.studies import Labels

log = logging.getLogger(__name__)

TRAIN, VALID = "train.csv", "valid.csv"
# Of the test set's label repository, a row a study; and of CheXlocalize, a row a picture.
TESTS = ("groundtruth.csv", "test_labels.csv")
POOL_COLUMNS = ("Path", "image_path", "imgpath")
_COLUMNS = ("Path", VIEW_COLUMN, *CHEXPERT14)


def _in_any(*names: str) -> tuple[str, ...]:
    return tuple(f"{folder}{name}" for name in names for folder in ("", "CheXpert*/"))


_WITHOUT_TEST = "the test part of dataset.split=chexpert/official"


def layout(config: CheXpertConfig) -> tuple[Expected, ...]:
    """Returns what a download holds; no key of the configuration moves a part of it."""
    train = (*_in_any("train/patient*/study*/*"), "CheXpert*/patient*/study*/*")
    valid, test = _in_any("valid/patient*/study*/*"), _in_any("test/patient*/study*/*")
    return (
        Expected("table of training pictures", _in_any(TRAIN), _COLUMNS),
        Expected("table of validation pictures", _in_any(VALID), _COLUMNS),
        Expected("training pictures", train, is_pictures=True),
        Expected("validation pictures", valid, is_pictures=True),
        Expected("test labels", _in_any(*TESTS), CHEXPERT14, is_required=False, without=_WITHOUT_TEST),
        Expected("test pictures", test, is_required=False, without=_WITHOUT_TEST, is_pictures=True),
    )


def read_chexpert(config: CheXpertConfig) -> FileSource:
    """Reads the data set; `dataset.root` holds the folder of a release (`CheXpert-v1.0-small`) or is that folder.

    With `unit=study` a sample is a study: its first frontal, its first lateral, and its further pictures as others.
    Lists that name pictures then mean the first frontals alone, with a warning: take `unit=image` for those.
    With `frontal` it is a frontal picture; with `image` any picture, a lateral then standing as the frontal. The order
    is that of train.csv, valid.csv and the test labels. Ids are `train/patient00001/study1`, for a picture with
    `/view1_frontal` behind it.

    The test labels may be missing; then `chexpert/official` has no test part.

    Raises:
        FileNotFoundError: a missing root, table or (with `missing_images=raise`) picture.
        ValueError: a missing column, a path that is none of the data set, an unknown view or label, pictures of one
            study with different labels, or no study left.
    """
    root = open_root(config, f"{TRAIN}, {VALID} and train/patient00001/..., or a folder CheXpert-v1.0-small with these")
    folders, hides = Folders(root), hides_ids(config)
    columns = {column: column for column in _COLUMNS}
    tables = [
        read_table(folders.table(name) or root / name, "dataset.root", columns, hides=hides) for name in (TRAIN, VALID)
    ]
    test = folders.table(*TESTS)
    if test:
        tables.append(read_table(test, "dataset.root", {name: name for name in CHEXPERT14}, ("Path", "Study"), hides))
    else:
        log.info("%s: no test labels (%s); the official test set is left out", root, " or ".join(TESTS))
    with without_details(hides, f"{root}: a folder below it may not be listed; allow reading it", PermissionError):
        # Pictures of their own have labels of their own.
        samples = _samples(read_pictures(tables, folders, hides, is_one_a_study=config.unit == "study"), config.unit)
        records = [_record(sample, config.unit, folders) for sample in samples]
        # Not one table: a path says which of them lists it.
        listing = list_studies(config, root, records, folders.tree)
    kept = [samples[number] for number in listing.kept]
    rows = [sample[0].label_row for sample in kept]

    def labels(names: Sequence[str], uncertain: str, unmentioned: str) -> Labels:
        values = [chexpert_labels(table, names, uncertain, unmentioned, hides).values for table in tables]
        return Labels(tuple(names), np.concatenate(values)[rows])

    def pool_key(name: str) -> str:
        key = key_of(name, folders=3)
        return key.rpartition("/")[0] if config.unit == "study" else key

    keys = [_first_frontal(sample).key for sample in samples]
    read = [
        f"{sample[0].study}/{stem_of(path.rpartition('/')[2])}"
        for sample, path in zip(kept, listing.frontal_paths, strict=True)
    ]
    split = split_or_pool(
        config,
        records,
        listing,
        published=[PARTS[key.partition("/")[0]] for key in keys],
        no_lists="no table is there",
        keys=keys,
        folders=3,
        pool_columns=POOL_COLUMNS,
        pool_key=pool_key,
        pool_keys=[sample[0].study if config.unit == "study" else sample[0].key for sample in kept],
        pool_labels=lambda: labels(CHEXPERT14, "ignore", "zero"),
        can_be_drawn=[_first_frontal(sample).is_frontal for sample in kept],
        pictures_read=read if config.unit == "study" else (),
    )
    classes = CHEXPERT5 if config.classes == "chexpert5" else CHEXPERT14
    return FileSource(root, listing, split, hides, labels=labels(classes, config.uncertain, config.unmentioned))


def _samples(pictures: Sequence[Picture], unit: str) -> list[list[Picture]]:
    """Puts together what makes one sample, in the order of the pictures."""
    if unit != "study":
        return [[picture] for picture in pictures if picture.is_frontal or unit == "image"]
    studies: dict[str, list[Picture]] = {}
    for picture in pictures:
        studies.setdefault(picture.study, []).append(picture)
    return list(studies.values())


def _first_frontal(sample: Sequence[Picture]) -> Picture:
    """Returns the picture that stands for a sample; a lateral only where there is no frontal."""
    return next((picture for picture in sample if picture.is_frontal), sample[0])


def _record(sample: Sequence[Picture], unit: str, folders: Folders) -> Record:
    first = sample[0]
    patient, folder = first.study.split("/")[1], folders.study(first.study)
    if unit != "study":
        return Record(first.key, patient, (f"{folder}/{first.name}",), row=first.row)
    frontals = tuple(f"{folder}/{picture.name}" for picture in sample if picture.is_frontal)
    laterals = tuple(f"{folder}/{picture.name}" for picture in sample if not picture.is_frontal)
    return Record(first.study, patient, frontals, laterals, row=first.row)
