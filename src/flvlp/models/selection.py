"""Report-guided choice of key patches over both views (docs/paper.md section 3, steps 2 to 5).

Differs from the released code, which selects the patches of every image with the last report of the batch and loops
over all pairs: here each study uses its own report, in one batched pass, so cost is linear in B.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN_SHARE = 0.2  # hidden width of the aggregation, of D (docs/paper.md section 3, step 4)


def masked_mean(values: Tensor, is_valid: Tensor) -> Tensor:
    """Returns the mean over dimension 1 of values (B, N, D) where `is_valid` (B, N); zero for a row with none."""
    weights = is_valid.unsqueeze(-1).to(values.dtype)
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


@torch.no_grad()
def score_patches(patches: Tensor, is_valid: Tensor, words: Tensor, is_word: Tensor) -> Tensor:
    """Scores patches by how typical they are of the study and how close to its own report.

    Args:
        patches: (B, P, D) of both views.
        is_valid: (B, P) bool.
        words: (B, T, D) of the unmasked report.
        is_word: (B, T) bool.

    Returns:
        (B, P) float32 in [-2, 2], cos(patch, mean patch) + cos(patch, mean word); -inf for invalid patches.
    """
    patches, words = patches.float(), words.float()
    # In bfloat16 patches that are alike would tie by the dozen, and ties go to the frontal ones, which come first.
    with torch.autocast(patches.device.type, enabled=False):
        directions = functional.normalize(patches, dim=-1)
        targets = functional.normalize(masked_mean(patches, is_valid), dim=-1)
        targets = targets + functional.normalize(masked_mean(words, is_word), dim=-1)
        scores = torch.einsum("bpd,bd->bp", directions, targets)
    return scores.masked_fill(~is_valid, -torch.inf)


def keep_best(scores: Tensor, keep_ratio: float) -> Tensor:
    """Returns is_kept (B, P) bool: the ceil(keep_ratio * P_b) best of the P_b valid patches, ties in their order.

    Args:
        scores: (B, P), -inf for invalid patches.
        keep_ratio: in (0, 1].
    """
    valid = torch.isfinite(scores).sum(dim=1)
    # Rounded first: 0.07 * 100 is 7.000000000000001 in binary, whose ceiling would be 8.
    keep = torch.ceil(torch.round(valid.double() * keep_ratio, decimals=6))
    order = torch.argsort(scores, dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order).scatter_(
        1, order, torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    )
    return ranks < keep.unsqueeze(1)


@dataclass(frozen=True, slots=True)
class Choice:
    """What key semantics are made of.

    Attributes:
        scores: (B, P) float32, of `score_patches`.
        is_kept: (B, P) bool.
        shares: (B, P, S) float32 in [0, 1], how much of each patch is in each token; sums to 1 over the kept patches
            and is 0 on the others.
        rest_shares: (B, P) float32, the same of the extra token, which holds what is left over.
        is_key: (B, S + 1) bool, which tokens exist: the extra one does only where a patch was left over.
    """

    scores: Tensor
    is_kept: Tensor
    shares: Tensor
    rest_shares: Tensor
    is_key: Tensor

    def back_to_patches(self, attention: Tensor) -> Tensor:
        """Carries attention over the tokens (B, T, S + 1) back to the patches (B, T, P); sums stay what they are."""
        of_rest = attention[..., -1:] * self.rest_shares.unsqueeze(1)
        return attention[..., :-1] @ self.shares.transpose(1, 2) + of_rest


class KeySemantics(nn.Module):
    """Aggregates the kept patches to S tokens and the rest to one extra token."""

    def __init__(self, width: int, patches: int, keep_ratio: float, aggregate_percent: int) -> None:
        """Args as named; `patches` is Pf + Pl, so that S is the same for every study."""
        super().__init__()
        hidden = math.ceil(HIDDEN_SHARE * width)
        self.keep_ratio = keep_ratio
        self.size = max(1, aggregate_percent * patches // 100)
        self.weights = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, self.size)
        )
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, patches: Tensor, is_valid: Tensor, words: Tensor, is_word: Tensor) -> tuple[Tensor, Choice]:
        """Chooses and aggregates.

        Args:
            patches: (B, P, D) of both views.
            is_valid: (B, P) bool.
            words: (B, T, D) of the *unmasked* report; guide the choice, get no gradient from it.
            is_word: (B, T) bool.

        Returns:
            key semantics (B, S + 1, D), and what they are made of.
        """
        scores = score_patches(patches, is_valid, words, is_word)
        is_kept = keep_best(scores, self.keep_ratio)
        logits = self.scale * self.weights(patches)  # (B, P, S)
        logits = logits.float().masked_fill(~is_kept.unsqueeze(-1), -torch.inf)
        shares = torch.softmax(logits, dim=1)
        aggregated = shares.to(patches.dtype).transpose(1, 2) @ patches  # (B, S, D)

        is_rest = is_valid & ~is_kept
        has_rest = is_rest.any(dim=1, keepdim=True)
        # A study with nothing left over takes a softmax over its valid patches, and the extra token is masked out.
        rest_scores = scores.masked_fill(~torch.where(has_rest, is_rest, is_valid), -torch.inf)
        rest_shares = torch.softmax(rest_scores, dim=1)
        extra = rest_shares.to(patches.dtype).unsqueeze(1) @ patches  # (B, 1, D)
        is_key = torch.cat([torch.ones_like(has_rest).expand(-1, self.size), has_rest], dim=1)
        return torch.cat([aggregated, extra], dim=1), Choice(scores, is_kept, shares, rest_shares, is_key)
