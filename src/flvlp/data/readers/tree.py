"""The folders of a data set: which pictures are there, also as converted copies."""

import os
from pathlib import Path

# In the order in which a copy is looked for. The Indiana pictures are published as `<name>.dcm.png`.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm.png", ".dcm", ".dicom")


class Tree:
    """Finds files under a root; lists every folder once in place of asking for each file.

    400,000 files of a few folders take about a second.

    Attributes:
        root: folder that paths start from.
        is_open: paths may also be absolute, or lead out of the root.
    """

    def __init__(self, root: Path, is_open: bool = False) -> None:
        self.root, self.is_open = root, is_open
        self._names: dict[str, set[str]] = {}

    def names(self, folder: str) -> set[str]:
        """Returns the names of the files in a folder below the root; none if there is no such folder.

        Raises:
            PermissionError: if the folder may not be listed.
        """
        if folder not in self._names:
            self._names[folder] = file_names(self.root / folder)
        return self._names[folder]

    def find(self, relative: str) -> str:
        """Returns the path, below the root, of a picture or of its converted copy; "" if neither is there.

        The published name wins; then the same name with another of `PICTURE_SUFFIXES`, so that a copy saved as JPEG or
        PNG is found for the published type.
        """
        folder, slash, name = relative.rpartition("/")  # os.path.split takes seconds for 400,000 names
        folder = folder or slash
        present = self.names(folder)
        if name in present:
            return relative
        stem = stem_of(name)
        copies = (stem + suffix for suffix in (*PICTURE_SUFFIXES, *map(str.upper, PICTURE_SUFFIXES)))
        found = next((copy for copy in copies if copy in present), "")
        return os.path.join(folder, found) if found else ""  # noqa: PTH118 (pathlib takes seconds for 400,000 names)


def stem_of(name: str) -> str:
    """Returns a file name without its picture suffixes."""
    lowered = name.lower()
    for suffix in (".dcm.png", *PICTURE_SUFFIXES):
        if lowered.endswith(suffix):
            return name[: -len(suffix)]
    return name


def leaves_root(relative: str) -> bool:
    """Says whether a path of a table climbs out of its root, or starts elsewhere."""
    return relative.startswith(("/", "\\")) or (
        ".." in relative and os.path.normpath(relative).split(os.sep, 1)[0] == ".."
    )


def file_names(folder: str | Path) -> set[str]:
    """Returns the names of the files in a folder; none if there is no such folder.

    Raises:
        PermissionError: if the folder may not be listed.
    """
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except PermissionError:
        raise
    except (OSError, ValueError):  # no such folder, not a folder, a name that no file system allows
        return set()
