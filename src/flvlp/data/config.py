"""Knobs of the data side. Imports nothing heavy, so that a misspelt key answers at once."""

from dataclasses import dataclass

ON_ERROR = ("raise", "skip")
MASKING_KINDS = ("semantic", "random")
REPLACEMENTS = ("mask", "bert")


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ValueError` naming the key and the valid choices when `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{key}: unknown choice {value!r}; choose one of: {', '.join(choices)}")


@dataclass
class DatasetConfig:
    """What every data set has.

    Attributes:
        name: selects the reader.
        root: folder that relative image paths start from (phantom: where the made phantoms are kept).
        validation_fraction: share of *patients* held out when the source names no split.
        split_seed: seed of that draw.
        on_error: what an image that turns out unreadable during training does: `raise`, or `skip` (mask the row,
            count it, list it in the run folder).
        credentialed: True keeps report text, pixels and ids out of logs, TensorBoard, messages and saved files,
            unless log_text, log_images or log_ids say otherwise.
    """

    name: str = ""
    root: str = ""
    validation_fraction: float = 0.1
    split_seed: int = 0
    on_error: str = "raise"
    credentialed: bool = False
    log_text: bool = False
    log_images: bool = False
    log_ids: bool = False

    def __post_init__(self) -> None:
        check_choice("dataset.on_error", self.on_error, ON_ERROR)
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"dataset.validation_fraction: must lie in [0, 1), got {self.validation_fraction}")


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
class PairsConfig(DatasetConfig):
    """A CSV with one study a row. Relative paths start from `root`, or from the CSV's folder where root is empty.

    Attributes:
        csv: path of the CSV file.
        frontal_column, lateral_column, report_column: column names; a blank lateral means that there is none.
        patient_column: patient id column, or "" when there is none (then every row is a patient of its own).
        split_column: column with `train`, `validation` (also `validate`, `valid`, `val`) or `test`, or "".
    """

    csv: str = ""
    frontal_column: str = "Path_frontal"
    lateral_column: str = "Path_lateral"
    report_column: str = "Report"
    patient_column: str = ""
    split_column: str = ""


@dataclass
class IUXrayConfig(DatasetConfig):
    """The Indiana collection as published: `indiana_reports.csv`, `indiana_projections.csv` and an image folder.

    Attributes:
        reports, projections, images: file and folder names under `root`.
        missing_images: `raise`, or `drop` the studies whose frontal file is not there (partial copies), with a tally.
    """

    reports: str = "indiana_reports.csv"
    projections: str = "indiana_projections.csv"
    images: str = "images"
    missing_images: str = "raise"

    def __post_init__(self) -> None:
        DatasetConfig.__post_init__(self)
        check_choice("dataset.missing_images", self.missing_images, ("raise", "drop"))


DATASET_CONFIGS: dict[str, type[DatasetConfig]] = {
    "phantom": PhantomConfig,
    "pairs": PairsConfig,
    "iu_xray": IUXrayConfig,
}


@dataclass
class MaskingConfig:
    """Which words masked language modelling hides (docs/paper.md section 2).

    Attributes:
        kind: `semantic` (words of a pathology entity more often) or `random` (every word alike).
        rate: share of words masked by `random`; null takes the rate that `semantic` would have on the same report,
            so that rate and choice are not confounded.
        replace: `mask` writes [MASK]; `bert` writes [MASK] 80 %, a random piece 10 %, the piece itself 10 %.
        entity_rate, other_rate, no_entity_rate: `semantic`: for entity words, for other words of a report that holds
            an entity, and for all words of a report that holds none.
        entities: file of entity word forms, one a line; "" takes the list that ships with the package.
    """

    kind: str = "semantic"
    rate: float | None = None
    replace: str = "mask"
    entity_rate: float = 0.75
    other_rate: float = 0.65
    no_entity_rate: float = 0.70
    entities: str = ""

    def __post_init__(self) -> None:
        check_choice("masking.kind", self.kind, MASKING_KINDS)
        check_choice("masking.replace", self.replace, REPLACEMENTS)
        if self.kind == "semantic" and self.rate is not None:
            raise ValueError(
                f"masking.rate: {self.rate} is not used by masking.kind=semantic; set entity_rate, other_rate and "
                "no_entity_rate, or take masking=random"
            )
        for key in ("rate", "entity_rate", "other_rate", "no_entity_rate"):
            value = getattr(self, key)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"masking.{key}: must lie in (0, 1], got {value}")


@dataclass
class ImageConfig:
    """Pixels as the encoders get them.

    Attributes:
        resize: long side after resizing, then zero-padded to a square of this side.
        crop: side of the random crop (training) or the centre crop (evaluation).
    """

    resize: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"encoder.crop: must lie in [1, resize = {self.resize}], got {self.crop}")
