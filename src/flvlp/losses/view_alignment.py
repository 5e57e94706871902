"""Frontal-lateral alignment, word by word (term `view_alignment`, docs/paper.md section 4).

As published the term is hollow: the attention weights alone carry which word asked, so it falls without the images
agreeing. `AlignmentOutput` therefore may hold the same word asked of other studies' views, as further negatives.
"""

import torch
from torch import Tensor
from torch.nn import functional

from flvlp.distributed import world_size
from flvlp.losses.config import ViewAlignmentConfig
from flvlp.types import AlignmentOutput, Counts, Output


def view_alignment_loss(output: AlignmentOutput, temperature: float) -> Tensor:
    """Computes the *summed* symmetric InfoNCE between a study's words in both views.

    Token i of the frontal matches token i of the lateral among the study's own words and, where the output holds them,
    word i of k other studies' laterals (in the other direction: frontals). Studies with the identical report are no
    negatives.

    Args:
        output: features of the M studies with both views.
        temperature: positive.

    Returns:
        Scalar in nats: the two directions' mean, summed over the words of all M studies; 0 with a graph when M = 0.
    """
    frontal = functional.normalize(output.frontal.float(), dim=-1)  # (M, T, D)
    lateral = functional.normalize(output.lateral.float(), dim=-1)
    logits = frontal @ lateral.transpose(1, 2) / temperature  # (M, T, T)

    def direction(own: Tensor, asked: Tensor, negatives: Tensor) -> Tensor:
        """Log-probability (M, T) of the matching word: `own` (M, T, T) logits, `asked` words against `negatives`."""
        normalised = functional.normalize(negatives.float(), dim=-1)
        extra = torch.einsum("mtd,mktd->mtk", asked, normalised) / temperature  # (M, T, k)
        # A finite fill keeps the gradient of padding rows finite; exp(-1e9) is 0 in float32.
        own = own.masked_fill(~output.is_word.unsqueeze(1), -1e9)
        extra = extra.masked_fill(~output.is_negative.unsqueeze(1), -1e9)
        return torch.diagonal(functional.log_softmax(torch.cat([own, extra], dim=-1), dim=-1), dim1=1, dim2=2)

    forth = direction(logits, frontal, output.lateral_negatives)
    back = direction(logits.transpose(1, 2), lateral, output.frontal_negatives)
    return -torch.where(output.is_word, forth + back, 0.0).sum() / 2


class ViewAlignmentLoss:
    """L_view_alignment, the mean over words of studies with a lateral, of all ranks and micro-batches of the step."""

    def __init__(self, config: ViewAlignmentConfig) -> None:
        self.temperature = config.temperature

    def __call__(self, output: Output, counts: Counts) -> Tensor:
        """Returns W * sum / count: averaged over ranks (DDP) and summed over micro-batches it is the global mean."""
        if output.alignment is None:
            raise ValueError("ViewAlignmentLoss: no aligned words; build the model with the term `view_alignment`")
        total = view_alignment_loss(output.alignment, self.temperature)
        return world_size() * total / counts.aligned_words
