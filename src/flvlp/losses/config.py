"""Weights and temperatures of the terms. Imports nothing heavy."""

from dataclasses import dataclass, field

TERMS = ("itc", "mlm", "view_alignment", "prototype")
NEGATIVES = ("words", "laterals")
SMALLEST_EPSILON = 0.025  # cosines differ by 2 at most, and exp(-2 / 0.025) is about the smallest float32


@dataclass
class ITCConfig:
    """Global image-text contrast."""

    weight: float = 1.0
    temperature: float = 0.1


@dataclass
class MLMConfig:
    """Masked language modelling from key semantics."""

    weight: float = 1.0


@dataclass
class ViewAlignmentConfig:
    """Frontal-lateral alignment; `negatives: laterals` adds other studies' views (docs/paper.md section 4)."""

    weight: float = 1.0
    temperature: float = 0.07
    negatives: str = "laterals"

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise ValueError(
                f"loss.view_alignment.negatives: unknown choice {self.negatives!r}; "
                f"choose one of: {', '.join(NEGATIVES)}"
            )


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
        if self.iterations < 1:
            raise ValueError(f"loss.prototype.iterations: must be at least 1, got {self.iterations}")
        if self.epsilon < SMALLEST_EPSILON:
            raise ValueError(
                f"loss.prototype.epsilon: must be at least {SMALLEST_EPSILON}, got {self.epsilon}; with less, the plan "
                "does not fit into float32 (flvlp.losses.prototype.sinkhorn)"
            )


@dataclass
class LossConfig:
    """All terms."""

    itc: ITCConfig = field(default_factory=ITCConfig)
    mlm: MLMConfig = field(default_factory=MLMConfig)
    view_alignment: ViewAlignmentConfig = field(default_factory=ViewAlignmentConfig)
    prototype: PrototypeConfig = field(default_factory=PrototypeConfig)

    def __post_init__(self) -> None:
        for term in TERMS:
            if getattr(self, term).weight < 0:
                raise ValueError(f"loss.{term}.weight: must not be negative, got {getattr(self, term).weight}")
        if not self.active():
            raise ValueError("loss: every term has weight 0; give at least one a weight, such as loss.itc.weight=1")
        for term in ("itc", "view_alignment", "prototype"):
            if getattr(self, term).temperature <= 0:
                raise ValueError(f"loss.{term}.temperature: must be positive, got {getattr(self, term).temperature}")

    def active(self) -> frozenset[str]:
        """Returns the names of the terms whose weight is not 0."""
        return frozenset(term for term in TERMS if getattr(self, term).weight > 0)
