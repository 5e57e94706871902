"""Global image-text contrast (term `itc`, docs/paper.md section 5)."""

import torch
from torch import Tensor
from torch.nn import functional

from flvlp.distributed import gather_masks, gather_with_grad
from flvlp.losses.config import ITCConfig
from flvlp.types import Output


def itc_loss(images: Tensor, reports: Tensor, is_present: Tensor, temperature: float) -> Tensor:
    """Computes the symmetric InfoNCE between images and reports of the studies that are present.

    Rows and columns of absent studies are masked, not removed, so that every rank has the same shapes.

    Args:
        images, reports: (N, D) of the global batch, any scale.
        is_present: (N,) bool.
        temperature: positive.

    Returns:
        Scalar in nats, the mean over present studies and both directions; 0 with a graph when none is present.

    Source: docs/paper.md section 5; InfoNCE of CLIP (Radford et al. 2021) with absent views masked.
    """
    images = functional.normalize(images.float(), dim=-1)
    reports = functional.normalize(reports.float(), dim=-1)
    logits = images @ reports.T / temperature  # (N, N)
    # A finite fill keeps the gradient of all-masked rows finite; exp(-1e9) is 0 in float32.
    masked = logits.masked_fill(~(is_present[:, None] & is_present[None, :]), -1e9)
    image_to_report = torch.diagonal(functional.log_softmax(masked, dim=1))
    report_to_image = torch.diagonal(functional.log_softmax(masked, dim=0))
    both = torch.where(is_present, image_to_report + report_to_image, 0.0)
    return -both.sum() / (2 * is_present.sum().clamp_min(1))


class ITCLoss:
    """L_itc = (ITC(frontal, report) + ITC(lateral, report)) / 2 + ITC(fused, report) over the global batch."""

    def __init__(self, config: ITCConfig) -> None:
        self.temperature = config.temperature

    def __call__(self, output: Output) -> Tensor:
        """Returns the scalar loss; the half of the views stays when no lateral is present."""
        if output.fused is None:
            raise ValueError("ITCLoss: the model gave no fused features; build it with the term `itc`")
        parts = (output.frontal, output.lateral, output.fused, output.report)
        gathered = gather_with_grad(torch.stack([part.float() for part in parts], dim=1))  # (N, 4, D)
        present = gather_masks([output.is_valid, output.is_valid & output.has_lateral])
        return itc_total(gathered, present, self.temperature)


def itc_total(features: Tensor, is_present: Tensor, temperature: float) -> Tensor:
    """Computes (ITC(frontal, report) + ITC(lateral, report)) / 2 + ITC(fused, report).

    Args:
        features: (N, 4, D) frontal, lateral, fused, report of the global batch.
        is_present: (2, N) bool: the study counts, and its lateral does.
        temperature: positive.

    Returns:
        Scalar in nats.
    """
    frontal, lateral, fused, report = features.unbind(dim=1)
    is_valid, has_lateral = is_present
    views = itc_loss(frontal, report, is_valid, temperature) + itc_loss(lateral, report, has_lateral, temperature)
    return views / 2 + itc_loss(fused, report, is_valid, temperature)
