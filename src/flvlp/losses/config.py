"""Weights and temperatures of the terms. Imports nothing heavy."""

from dataclasses import dataclass, field

from flvlp.checks import check_choice, check_fields

TERMS = ("itc", "mlm", "view_alignment", "prototype")
NEGATIVES = ("words", "laterals")
SMALLEST_EPSILON = 0.025  # cosines differ by 2 at most, and exp(-2 / 0.025) is about the smallest float32
TOO_SMALL = "with less, the plan does not fit into float32 (flvlp.losses.prototype.sinkhorn)"


@dataclass
class ITCConfig:
    """Global image-text contrast."""

    weight: float = 1.0
    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self, "loss.itc", "[0, inf)", "weight")
        check_fields(self, "loss.itc", "(0, inf)", "temperature")


@dataclass
class MLMConfig:
    """Masked language modelling from key semantics."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "loss.mlm", "[0, inf)", "weight")


@dataclass
class ViewAlignmentConfig:
    """Frontal-lateral alignment; `negatives: laterals` adds other studies' views (docs/paper.md section 4)."""

    weight: float = 1.0
    temperature: float = 0.07
    negatives: str = "laterals"

    def __post_init__(self) -> None:
        check_fields(self, "loss.view_alignment", "[0, inf)", "weight")
        check_fields(self, "loss.view_alignment", "(0, inf)", "temperature")
        check_choice("loss.view_alignment.negatives", self.negatives, NEGATIVES)


@dataclass
class PrototypeConfig:
    """Prototype-level alignment; epsilon and iterations are Sinkhorn's.

    The term counts from `start_epoch` on. While images and reports do not match yet, one's code says nothing of the
    other, and the best prediction is the same for every study: the term then collapses the features (docs/log.md).
    """

    weight: float = 1.0
    temperature: float = 0.1
    epsilon: float = 0.07
    iterations: int = 3
    bidirectional: bool = True
    start_epoch: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "loss.prototype", "[0, inf)", "weight", "start_epoch")
        check_fields(self, "loss.prototype", "(0, inf)", "temperature")
        check_fields(self, "loss.prototype", "[1, inf)", "iterations")
        check_fields(self, "loss.prototype", f"[{SMALLEST_EPSILON}, inf)", "epsilon", advice=TOO_SMALL)


@dataclass
class LossConfig:
    """All terms."""

    itc: ITCConfig = field(default_factory=ITCConfig)
    mlm: MLMConfig = field(default_factory=MLMConfig)
    view_alignment: ViewAlignmentConfig = field(default_factory=ViewAlignmentConfig)
    prototype: PrototypeConfig = field(default_factory=PrototypeConfig)

    def __post_init__(self) -> None:
        if not self.active():
            raise ValueError("loss: every term has weight 0; give at least one a weight, such as loss.itc.weight=1")

    def active(self) -> frozenset[str]:
        """Returns the names of the terms whose weight is not 0."""
        return frozenset(term for term in TERMS if getattr(self, term).weight > 0)
