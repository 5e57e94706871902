"""What the readers of files share: the root, the split, and the study source they all give."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flvlp.data.images import ImageReadError, read_image
from flvlp.data.readers.base_config import PublishedConfig
from flvlp.data.readers.listing import Listing, Record
from flvlp.data.readers.privacy import without_details
from flvlp.data.readers.tables import hides_ids, shown
from flvlp.data.splits.lists import key_of
from flvlp.data.splits.making import Split, SplitTable, make_split, restricted
from flvlp.data.splits.registry import default_split
from flvlp.data.studies import Boxes, Labels, Masks, Study


def open_root(config: PublishedConfig, needs: str) -> Path:
    """Returns the folder of the data set.

    Args:
        config: of the data set.
        needs: what the folder must hold, for the message.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not config.root or not Path(config.root).is_dir():
        raise FileNotFoundError(
            f"dataset.root: no such folder ({config.root!r}); it must hold {needs}; set dataset.root to the download "
            f"of {config.name}, or to phantom for a stand-in"
        )
    return Path(config.root)


def split_of(
    config: PublishedConfig,
    listed: Sequence[Record] | Sequence[Study],
    *,
    kept: np.ndarray | None = None,
    published: Sequence[str] = (),
    no_lists: str = "this data set comes without lists",
    keys: Sequence[str] = (),
    folders: int = 0,
) -> Split:
    """Makes the split that the config names, or the data set's default.

    It is made of all that the publisher lists and then restricted to what is kept, so that a partial copy of a data set
    draws no other parts than the whole.

    Args:
        config: of the data set.
        listed: the publisher's studies; `published` and `keys` have an entry for each.
        kept: (n,) int64, those that can be used, ascending; None keeps all.
        published: part by the publisher's lists ("" for none), or nothing where they are not there.
        no_lists: says which lists are missing.
        keys, folders: how id lists name the studies (`flvlp.data.splits.lists.key_of`).
    """
    table = SplitTable(
        config.name,
        [study.study_id for study in listed],
        [study.patient_id for study in listed],
        published,
        no_lists,
        keys or [key_of(study.study_id) for study in listed],
        folders,
    )
    name = config.split or default_split(config.name)
    with without_details(
        hides_ids(config) and config.split_lists != "", f"dataset.split: {name} cannot be made from its lists"
    ):
        split = make_split(
            name,
            table,
            seed=config.split_seed,
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            lists=config.split_lists,
        )
    return split if kept is None else restricted(split, kept)


@dataclass
class FileSource:
    """Studies whose images are files; a `flvlp.data.studies.StudySource`.

    Attributes:
        root: folder that the paths start from.
        listing: the studies and their files.
        split: how they are split.
        hides_ids: True keeps ids and paths out of messages.
        labels, boxes, masks: of the kept studies, None where there are none.
        read: from a path below the root to pixels, (H, W) uint8; a pixel cache puts its own here.
    """

    root: Path
    listing: Listing
    split: Split
    hides_ids: bool = False
    labels: Labels | None = None
    boxes: Boxes | None = None
    masks: Masks | None = None
    read: Callable[[str], np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self.studies: Sequence[Study] = self.listing.studies
        self.splits, self.split_name = self.split.parts, self.split.name
        self.read = self._decode

    def views(self) -> list[str]:
        """Returns the path of every picture that is read, each once, in the order of the studies."""
        pairs = zip(self.listing.frontal_paths, self.listing.lateral_paths, strict=True)
        return list(dict.fromkeys(path for views in pairs for path in views if path))

    def frontal(self, index: int) -> np.ndarray:
        """Returns the frontal view of study `index`, (H, W) uint8, 0-255, air dark.

        Raises:
            ImageReadError: if the file cannot be read; names the study, the row and the path, or the row and a salted
                hash where ids are hidden.
        """
        return self._read(index, self.listing.frontal_paths[index])

    def lateral(self, index: int) -> np.ndarray:
        """Returns the lateral view of study `index`, (H, W) uint8, 0-255.

        Raises:
            ValueError: if the study has no lateral view.
            ImageReadError: as `frontal`.
        """
        if not self.studies[index].has_lateral:
            raise ValueError(f"{self._where(index)}: has no lateral view; ask only where `has_lateral` is true")
        return self._read(index, self.listing.lateral_paths[index])

    def _decode(self, path: str) -> np.ndarray:
        return read_image(self.root / path)

    def _where(self, index: int) -> str:
        study = self.studies[index]
        return f"study {shown(study.study_id, self.hides_ids)}, row {study.row}"

    def _read(self, index: int, path: str) -> np.ndarray:
        try:
            return self.read(path)
        except ImageReadError as error:
            if not self.hides_ids:
                raise ImageReadError(f"{self._where(index)}: {error}", error.path, error.cause) from error
            # `from None`: the original message holds the path.
            message = f"{self._where(index)}: an image cannot be read ({error.cause})"
            raise ImageReadError(message, "", error.cause) from None
