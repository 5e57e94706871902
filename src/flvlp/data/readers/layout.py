"""What a download must hold, said once for each data set, so that `doctor` can tell what is missing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expected:
    """One file or folder of a publisher's tree.

    Attributes:
        what: in a few words.
        paths: names below the root, or patterns of `pathlib.Path.glob`; one that is there is enough. A `.gz` of a table
            counts as the table.
        columns: that a table must have.
        is_required: False for what the reader can do without.
        without: what is lost where an optional part is missing.
        is_pictures: True lets only files count whose name ends as that of a picture (`tree.PICTURE_SUFFIXES`).
        skips: words in the names of folders whose files do not count.
    """

    what: str
    paths: tuple[str, ...]
    columns: tuple[str, ...] = ()
    is_required: bool = True
    without: str = ""
    is_pictures: bool = False
    skips: tuple[str, ...] = ()
