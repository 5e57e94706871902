"""Segmentation of one structure: focal and soft dice (downstream; not a term of pre-training)."""

import torch
from torch import Tensor
from torch.nn import functional

from flvlp.losses.task_config import SegmentationLossConfig


def segmentation_loss(
    logits: Tensor, masks: Tensor, is_valid: Tensor, config: SegmentationLossConfig | None = None
) -> Tensor:
    """Computes focal_weight * focal + dice_weight * (-log soft dice), *summed* over the valid pictures.

    Focal is the mean over a picture's pixels of -(1 - q)^gamma log q, q being the probability of the true class. Soft
    dice of a picture is (2 sum(p m) + smoothing) / (sum(p) + sum(m) + smoothing) over its pixels, with p the
    probability and m the mask. With `dice_over=batch` the three sums run over all valid pictures of the call, and the
    logarithm counts once for each of them.

    Summed, so that neither batch size nor number of ranks enters: divide by the global number of valid pictures. Only
    `dice_over=batch` depends on how pictures are put together.

    Args:
        logits: (B, 1, H, W).
        masks: (B, 1, H, W) bool, or 0 and 1.
        is_valid: (B,) bool; the other rows have neither value nor gradient.
        config: weights; those of the paper's lineage unless given.

    Returns:
        Scalar in nats, summed; 0 with a graph where no row is valid.

    Source: focal, Lin et al. 2017, eq. (4); weights 10 and 1, gamma 2 and smoothing 1,
        HKU-MedAI/MGCA@6445a90:mgca/utils/segmentation_loss.py. It takes one dice over the batch (`dice_over=batch`),
        which changes with the batch size; ours is each picture's own.
    """
    config = config or SegmentationLossConfig()
    with torch.autocast(logits.device.type, enabled=False):
        targets = masks.float().flatten(1)  # (B, H * W)
        values = torch.where(is_valid[:, None], logits.float().flatten(1), 0.0)
        # log(1 - q) in closed form: the power of a probability that rounds to 0 would have no finite gradient.
        log_other = functional.logsigmoid(values * (1 - 2 * targets))
        cross_entropy = functional.binary_cross_entropy_with_logits(values, targets, reduction="none")
        focal = ((config.gamma * log_other).exp() * cross_entropy).mean(dim=1)  # (B,)

        probabilities = values.sigmoid()
        both = (probabilities * targets).sum(dim=1)  # (B,)
        either = probabilities.sum(dim=1) + targets.sum(dim=1)
        if config.dice_over == "batch":
            both = torch.where(is_valid, both, 0.0).sum().expand_as(both)
            either = torch.where(is_valid, either, 0.0).sum().expand_as(either)
        minus_log_dice = (either + config.smoothing).log() - (2 * both + config.smoothing).log()

        each = config.focal_weight * focal + config.dice_weight * minus_log_dice
        return torch.where(is_valid, each, 0.0).sum()
