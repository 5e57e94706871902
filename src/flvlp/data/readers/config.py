"""Knobs of the data sets. Imports nothing heavy, so that a misspelt key answers at once."""

from dataclasses import dataclass, field

from flvlp.checks import SEEDS, check_fields
from flvlp.data.readers.base_config import DatasetConfig, FilesConfig, PublishedConfig


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

    def __post_init__(self) -> None:
        DatasetConfig.__post_init__(self)
        check_fields(self, "dataset", "[1, inf)", "studies", "size")
        check_fields(self, "dataset", SEEDS, "seed")
        check_fields(self, "dataset", "[0, inf)", "workers")


@dataclass
class PairsConfig(FilesConfig):
    """A CSV with one study a row. Relative paths start from `root`, or from the CSV's folder where root is empty.

    Attributes:
        csv: path of the CSV file.
        outside_root: whether absolute paths may lie outside of that folder; relative ones never do.
        frontal_column, lateral_column, report_column: column names; a blank lateral means that there is none,
            "" for lateral_column or report_column that nobody has one.
        patient_column: patient id column, or "" when there is none (then every row is a patient of its own).
        split_column: column with `train`, `validation` (also `validate`, `valid`, `val`) or `test`, or "".
        label_columns: columns of labels: 1, 0, or blank where not known.
        mask_column: column with paths of masks (8-bit pictures, above 127 is inside; blank: nothing is), or "".
        report_policy: which sections of a report are used, one of `REPORT_POLICIES`.
    """

    csv: str = ""
    outside_root: bool = False
    frontal_column: str = "Path_frontal"
    lateral_column: str = "Path_lateral"
    report_column: str = "Report"
    patient_column: str = ""
    split_column: str = ""
    label_columns: list[str] = field(default_factory=list)
    mask_column: str = ""
    report_policy: str = "both"


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
