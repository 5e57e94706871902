"""Knobs of the losses of downstream tasks. Imports nothing heavy."""

from dataclasses import dataclass

from flvlp.checks import check_choice, check_fields

DICE_OVER = ("picture", "batch")


@dataclass
class SegmentationLossConfig:
    """Weights of `focal_weight * focal + dice_weight * (-log soft dice)`.

    Attributes:
        focal_weight, gamma: of the focal term; gamma 0 gives the cross-entropy.
        dice_weight, smoothing: of the soft dice term; `smoothing` pixels are added to both sides of the ratio, so that
            an empty mask met by an empty prediction is perfect.
        dice_over: soft dice of each `picture`, or of all pixels of the micro-`batch` together.
    """

    focal_weight: float = 10.0
    gamma: float = 2.0
    dice_weight: float = 1.0
    smoothing: float = 1.0
    dice_over: str = "picture"

    def __post_init__(self) -> None:
        check_choice("task.loss.dice_over", self.dice_over, DICE_OVER)
        check_fields(self, "task.loss", "[0, inf)", "focal_weight", "gamma", "dice_weight")
        check_fields(self, "task.loss", "(0, inf)", "smoothing")
        if self.focal_weight == 0 and self.dice_weight == 0:
            raise ValueError("task.loss: both weights are 0; give one, such as task.loss.focal_weight=10")
