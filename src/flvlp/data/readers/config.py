"""Knobs of the data sets. Imports nothing heavy, so that a misspelt key answers at once."""

from dataclasses import dataclass, field

from flvlp.data.config import check_choice
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
        for key in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"dataset.{key}: must lie in [0, 1), got {getattr(self, key)}")


@dataclass
class PhantomConfig(DatasetConfig):
    """Phantoms, made once and cached under `root`.

    Attributes:
        studies: how many.
        size: side of the square pictures in pixels.
        seed: seed of the phantoms themselves; not the training seed, so that several seeds share one data set.
        workers: processes that make them; 0 means one a core.
    """

    studies: int = 7000
    size: int = 256
    seed: int = 0
    workers: int = 0


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
class PairsConfig(FilesConfig):
    """A CSV with one study a row. Relative paths start from `root`, or from the CSV's folder where root is empty.

    Attributes:
        csv: path of the CSV file.
        frontal_column, lateral_column, report_column: column names; a blank lateral means that there is none,
            "" for lateral_column or report_column that nobody has one.
        patient_column: patient id column, or "" when there is none (then every row is a patient of its own).
        split_column: column with `train`, `validation` (also `validate`, `valid`, `val`) or `test`, or "".
        label_columns: columns of labels: 1, 0, or blank where not known.
        mask_column: column with paths of masks (8-bit pictures, above 127 is inside; blank: nothing is), or "".
        report_policy: which sections of a report are used, one of `REPORT_POLICIES`.
    """

    csv: str = ""
    frontal_column: str = "Path_frontal"
    lateral_column: str = "Path_lateral"
    report_column: str = "Report"
    patient_column: str = ""
    split_column: str = ""
    label_columns: list[str] = field(default_factory=list)
    mask_column: str = ""
    report_policy: str = "both"


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


@dataclass
class IUXrayConfig(PublishedConfig):
    """The Indiana collection (Open-i).

    Attributes:
        text: where the reports come from: `csv` (indiana_reports.csv and indiana_projections.csv), `xml` (Open-i's own
            report files, or NLMCXR_reports.tgz), or `r2gen` (annotation.json); `auto` takes the first that is there.
        reports, projections, annotation, images: file and folder names under `root`.
        report_policy: which sections of a report are used, one of `REPORT_POLICIES`.
    """

    text: str = "auto"
    reports: str = "indiana_reports.csv"
    projections: str = "indiana_projections.csv"
    annotation: str = "annotation.json"
    images: str = "images"
    report_policy: str = "both"


@dataclass
class MimicCxrConfig(PublishedConfig):
    """MIMIC-CXR-JPG with the reports of MIMIC-CXR.

    Attributes:
        reports: folder under `root` that holds `files/p10/...txt`, or `mimic-cxr-reports.zip`; "" looks for both.
        report_policy: which sections of a report are used, one of `REPORT_POLICIES`.
        needs_report: False keeps studies without text too (classification).
        uncertain, unmentioned: as in `CheXpertConfig`.
        pool: list of the MIMIC-5x200 studies that `mimic_cxr/5x200` tests on; "" draws one.
    """

    credentialed: bool = True
    reports: str = ""
    report_policy: str = "both"
    needs_report: bool = True
    uncertain: str = "u_zeros"
    unmentioned: str = "zero"
    pool: str = ""


@dataclass
class CheXpertConfig(PublishedConfig):
    """CheXpert, small or full.

    Attributes:
        unit: what a sample is: `study` (first frontal, with the lateral where there is one), `frontal` (every frontal
            picture of its own) or `image` (every picture, laterals too).
        classes: `chexpert5` (the five of the competition) or `all` (14).
        uncertain: what -1 becomes: `u_ones`, `u_zeros`, `ignore` (missing), or `chexpert5` (1 for atelectasis, edema
            and pleural effusion, 0 for cardiomegaly and consolidation, missing for the other nine).
        unmentioned: what a blank becomes: `zero` (the usual reading: not mentioned is not there) or `ignore`.
        pool: list of the CheXpert-5x200 or 8x200 pictures that `chexpert/5x200` or `chexpert/8x200` tests on; "" draws
            a 5x200.
    """

    unit: str = "study"
    classes: str = "chexpert5"
    uncertain: str = "chexpert5"
    unmentioned: str = "zero"
    pool: str = ""


@dataclass
class NIH14Config(PublishedConfig):
    """NIH ChestX-ray14."""


@dataclass
class RSNAConfig(PublishedConfig):
    """RSNA Pneumonia Detection Challenge, stage 2."""


@dataclass
class CovidxConfig(PublishedConfig):
    """COVIDx.

    Attributes:
        train_list, test_list: names of the list files under `root`; "" finds the newest release whose names tell it
            (`train_COVIDx9A.txt`), else `train.txt` and `test.txt`, as Kaggle's CXR-2 to CXR-4 have.
    """

    train_list: str = ""
    test_list: str = ""


@dataclass
class SIIMConfig(PublishedConfig):
    """SIIM-ACR Pneumothorax.

    Attributes:
        csv: name of the mask table under `root`; "" finds it.
    """

    csv: str = ""


@dataclass
class ObjectCXRConfig(PublishedConfig):
    """Object-CXR."""


@dataclass
class MSCXRConfig(PublishedConfig):
    """MS-CXR: phrases of MIMIC-CXR's reports with boxes.

    Attributes:
        images: folder of MIMIC-CXR-JPG, which holds `files/p10/...`; a relative one starts from `root`, "" is `root`.
    """

    credentialed: bool = True
    images: str = ""


DATASET_CONFIGS: dict[str, type[DatasetConfig]] = {
    "phantom": PhantomConfig,
    "pairs": PairsConfig,
    "mimic_cxr": MimicCxrConfig,
    "iu_xray": IUXrayConfig,
    "chexpert": CheXpertConfig,
    "nih14": NIH14Config,
    "rsna": RSNAConfig,
    "covidx": CovidxConfig,
    "siim": SIIMConfig,
    "object_cxr": ObjectCXRConfig,
    "ms_cxr": MSCXRConfig,
}
