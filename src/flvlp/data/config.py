"""Knobs of masking and images. Imports nothing heavy, so that a misspelt key answers at once."""

from dataclasses import dataclass

from flvlp.checks import check_choice, check_fields

MASKING_KINDS = ("semantic", "random")
REPLACEMENTS = ("mask", "bert")


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
        check_fields(self, "masking", "(0, 1]", "rate", "entity_rate", "other_rate", "no_entity_rate")
        check_choice("masking.kind", self.kind, MASKING_KINDS)
        check_choice("masking.replace", self.replace, REPLACEMENTS)
        if self.kind == "semantic" and self.rate is not None:
            raise ValueError(
                f"masking.rate: {self.rate} is not used by masking.kind=semantic; set entity_rate, other_rate and "
                "no_entity_rate, or take masking=random"
            )


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
        check_fields(self, "encoder", "[1, inf)", "resize")
        check_fields(self, "encoder", f"[1, {self.resize}]", "crop", advice="it is cut out of encoder.resize")


@dataclass
class AugmentConfig:
    """Random changes of a training picture; its mask and boxes move along. No flips: they swap left and right.

    Attributes:
        degrees: rotation, uniform in [-degrees, degrees].
        translate: shift, uniform in +- this share of the side.
        scale: size, uniform in [1 - scale, 1 + scale].
        brightness, contrast: factors, uniform in [1 - value, 1 + value].
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "task.augment", "[0, 180]", "degrees")
        check_fields(self, "task.augment", "[0, 1)", "translate", "scale", "brightness", "contrast")
