"""What all data sets share in their knobs, and those of files and of published sets. Imports nothing heavy."""

from dataclasses import dataclass

from flvlp.checks import SEEDS, check_choice, check_fields
from flvlp.data.reports import REPORT_POLICIES

PHANTOM_ROOT = "phantom"  # dataset.root=phantom: a stand-in made of phantoms in the publisher's layout
# The choices of every key that has some, in whichever data set.
CHOICES = {
    "on_error": ("raise", "skip"),
    "missing_images": ("raise", "drop"),
    "cache": ("auto", "require", "off"),
    "report_policy": REPORT_POLICIES,
    "text": ("auto", "csv", "xml", "r2gen"),
    "unit": ("study", "frontal", "image"),
    "classes": ("chexpert5", "all"),
    "uncertain": ("u_ones", "u_zeros", "ignore", "chexpert5"),
    "unmentioned": ("zero", "ignore"),
}


@dataclass
class DatasetConfig:
    """What every data set has.

    Attributes:
        name: selects the reader.
        root: folder of the data set (phantom: where the made phantoms are kept).
        split: name of the registry (flvlp.data.splits.registry); "" takes the data set's default.
        validation_fraction, test_fraction, split_seed: shares of *patients* held out by `<data set>/patient`, and seed.
        on_error: what an unreadable image does: `raise`, or `skip` (mask the row and count it; pre-training lists it).
        credentialed: True keeps report text, pixels and ids out of logs, TensorBoard, messages and saved files,
            unless log_text, log_images or log_ids say otherwise.
    """

    name: str = ""
    root: str = ""
    split: str = ""
    validation_fraction: float = 0.1
    test_fraction: float = 0.0
    split_seed: int = 0
    on_error: str = "raise"
    credentialed: bool = False
    log_text: bool = False
    log_images: bool = False
    log_ids: bool = False

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            if hasattr(self, key):
                check_choice(f"dataset.{key}", getattr(self, key), choices)
        check_fields(self, "dataset", "[0, 1)", "validation_fraction", "test_fraction")
        check_fields(self, "dataset", SEEDS, "split_seed")


@dataclass
class FilesConfig(DatasetConfig):
    """Data sets of files.

    Attributes:
        missing_images: `raise`, or `drop` the studies of which no frontal file is there (partial copies), with a tally.
        cache: `auto` reads pixels from the cache that `experiments/prepare.py` made for the wanted size, where there
            is one; `require` stops where there is none; `off` decodes the files.
        cache_root: folder of the pixel caches.
    """

    missing_images: str = "raise"
    cache: str = "auto"
    cache_root: str = "cache/pixels"


@dataclass
class PublishedConfig(FilesConfig):
    """Data sets as their publishers ship them.

    Attributes:
        root: folder of the download; `phantom` makes a stand-in of phantoms in the publisher's own layout.
        split_lists: folder of the id lists of a split that is made from lists.
        standin_root: folder where stand-ins are kept.
        standin_studies: studies of a stand-in.
        standin_size: side of its pictures in pixels (published sizes are 1024 and more).
        standin_seed: of its phantoms; not 0, so that no phantom of `dataset=phantom` is in it.
    """

    root: str = PHANTOM_ROOT
    split_lists: str = ""
    standin_root: str = "cache/standin"
    standin_studies: int = 1000
    standin_size: int = 256
    standin_seed: int = 1

    def __post_init__(self) -> None:
        FilesConfig.__post_init__(self)
        check_fields(self, "dataset", "[1, inf)", "standin_studies", "standin_size")
        check_fields(self, "dataset", SEEDS, "standin_seed")
