"""Makes the split of a data set that has evaluation pools."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flvlp.data.readers.config import CheXpertConfig, MimicCxrConfig
from flvlp.data.readers.files import split_of
from flvlp.data.readers.listing import Listing, Record
from flvlp.data.readers.privacy import without_details
from flvlp.data.readers.tables import hides_ids
from flvlp.data.splits.lists import key_of
from flvlp.data.splits.making import Split
from flvlp.data.splits.pools import PER_CLASS, draw_pool, drawn_name, find_pool, parts_around, pool_classes, read_pool
from flvlp.data.splits.registry import default_split, rule_of
from flvlp.data.studies import Labels

log = logging.getLogger(__name__)


def split_or_pool(
    config: CheXpertConfig | MimicCxrConfig,
    records: Sequence[Record],
    listing: Listing,
    *,
    published: Sequence[str],
    no_lists: str,
    keys: Sequence[str],
    pool_columns: Sequence[str],
    pool_key: Callable[[str], str],
    pool_keys: Sequence[str],
    pool_labels: Callable[[], Labels],
    can_be_drawn: Sequence[bool],
    folders: int = 0,
    pictures_read: Sequence[str] = (),
) -> Split:
    """Makes the split that the config names; where that tests on a pool, reads `config.pool` or draws one.

    An encoder that is tested on a pool must be pre-trained with the split of this pool: its studies come from the
    official training part.

    Args:
        config: of the data set.
        records: all that the publisher lists; `published` and `keys` have an entry for each.
        listing: the kept studies; a pool is drawn of these, and what is about pools has an entry for each.
        published, no_lists, keys, folders: see `flvlp.data.readers.files.split_of`.
        pool_columns: columns of a list that name a study or picture, the best first.
        pool_key: from what such a column holds to one of `pool_keys`.
        pool_keys: of each study.
        pool_labels: gives the labels to draw by, an uncertain one missing.
        can_be_drawn: of each study; only those of the official training part are.
        pictures_read: where lists name pictures and a study has several, the key of the one that is read; a warning
            says so where a list names another.

    Raises:
        FileNotFoundError, ValueError: as `split_of`, `read_pool`, `find_pool` and `draw_pool`.
    """
    hides = hides_ids(config)
    if not pool_classes(config.split):
        if config.pool:
            raise ValueError(
                f"dataset.pool: is set ({config.pool!r}), and dataset.split={config.split} tests on no pool; set "
                f"dataset.split={config.name}/5x200, or leave dataset.pool empty"
            )
        rule = rule_of(config.split or default_split(config.name), config.name)
        if pictures_read and rule.how == "lists":
            log.warning(
                "dataset.split_lists: %s names pictures, and with dataset.unit=study a study is looked up by its first "
                "frontal alone; other listed pictures count for nothing; set dataset.unit=image to use each",
                config.split_lists,
            )
        return split_of(
            config, records, kept=listing.kept, published=published, no_lists=no_lists, keys=keys, folders=folders
        )
    if published:
        published = [published[row] for row in listing.kept]
    patients = [study.patient_id for study in listing.studies]
    name = config.split
    if config.pool:
        path = Path(config.pool)
        columns = " or ".join(map(repr, pool_columns))
        with without_details(hides, f"{path}: cannot be read as a list with a column {columns}; set dataset.pool"):
            names = read_pool(path, pool_columns)
        pool = find_pool(path, [pool_key(name) for name in names], pool_keys)
        if pictures_read:
            _tell_others(path, {key_of(name, folders) for name in names}, [pictures_read[row] for row in pool])
    else:
        is_training = [part == "train" for part in published] or [True] * len(patients)
        pool = draw_pool(
            pool_labels(),
            np.flatnonzero(np.array(can_be_drawn) & np.array(is_training)),
            pool_classes(name),
            PER_CLASS,
            config.split_seed,
            study_ids=[study.study_id for study in listing.studies],
            patient_ids=patients,
        )
        name = drawn_name(name, pool)
    return replace(split_of(config, listing.studies, published=parts_around(pool, published, patients)), name=name)


def _tell_others(path: Path, listed: set[str], pictures_read: Sequence[str]) -> None:
    """Warns where studies of a pool are tested on another picture than the list names."""
    others = len(pictures_read) - len(listed.intersection(pictures_read))
    if others:
        log.warning(
            "%s: of %d studies in the pool, %d are tested on another picture than the listed one, since with "
            "dataset.unit=study the first frontal stands for a study; dataset.unit=image tests on the listed ones",
            *(path, len(pictures_read), others),
        )
