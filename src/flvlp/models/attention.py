"""Attention blocks of the two decoders, on scaled-dot-product attention."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

MLP_RATIO = 4


class Attention(nn.Module):
    """Multi-head attention with separate queries; heads of `head_width` channels."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        if width % head_width:
            raise ValueError(f"Attention: encoder.width {width} is no multiple of heads.head_width {head_width}")
        self.heads = width // head_width
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, queries: Tensor, memory: Tensor, is_memory: Tensor | None, swaps: Sequence[Tensor] = ()
    ) -> Tensor:
        """Mixes memory for each query.

        Args:
            queries: (B, T, D).
            memory: (B, S, D).
            is_memory: (B, S) bool, False for entries nobody may look at; at least one True a row. None for all True,
                which takes kernels that know no mask.
            swaps: n times (B,) int64: the same queries also get the memory of these rows. All is projected once.

        Returns:
            ((1 + n) * B, T, D): with the own memory, then swap after swap.
        """
        query, key, value = self._split_heads(queries, memory)
        if swaps:
            query = query.repeat(1 + len(swaps), 1, 1, 1)
            key, value = (torch.cat([own, *(own.index_select(0, rows) for rows in swaps)]) for own in (key, value))
            if is_memory is not None:
                is_memory = torch.cat([is_memory, *(is_memory.index_select(0, rows) for rows in swaps)])
        mask = None if is_memory is None else is_memory[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def weights(self, queries: Tensor, memory: Tensor, is_memory: Tensor) -> Tensor:
        """Returns how much of each entry the forward pass mixes for each query, which that pass itself never holds.

        Args:
            queries, memory, is_memory: as in the forward pass.

        Returns:
            (B, h, T, S) float32 in [0, 1]; sums to 1 over S and is 0 where nobody may look.
        """
        query, key, _ = self._split_heads(queries, memory)
        logits = (query @ key.transpose(-2, -1)).float() / query.shape[-1] ** 0.5
        return torch.softmax(logits.masked_fill(~is_memory[:, None, None, :], -torch.inf), dim=-1)

    def _split_heads(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the projected query (B, h, T, D/h), key and value (B, h, S, D/h)."""
        query = self.query(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value


class SelfAttentionBlock(nn.Module):
    """Pre-norm self-attention and MLP, both with a residual."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, head_width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Linear(MLP_RATIO * width, width))

    def forward(self, words: Tensor, is_token: Tensor) -> Tensor:
        """Maps (B, T, D) to (B, T, D); `is_token` (B, T) bool says who may be looked at."""
        normed = self.attention_norm(words)
        words = words + self.attention(normed, normed, is_token)
        return words + self.mlp(self.mlp_norm(words))


class WordDecoder(nn.Module):
    """Words ask an image: one cross-attention *without* residual, then self-attention blocks over the words.

    Without the residual every word leaves the cross-attention as a mixture of image features, so the text cannot answer
    for the image.
    """

    def __init__(self, width: int, head_width: int, depth: int) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, head_width)
        self.blocks = nn.ModuleList(SelfAttentionBlock(width, head_width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, words: Tensor, is_token: Tensor, memory: Tensor, is_memory: Tensor | None, swaps: Sequence[Tensor] = ()
    ) -> Tensor:
        """Decodes words from image features.

        Args:
            words: (B, T, D) queries.
            is_token: (B, T) bool.
            memory: (B, S, D) patches or key semantics.
            is_memory: (B, S) bool; None for all True.
            swaps: n times (B,) int64: the same words also ask the memory of these rows.

        Returns:
            ((1 + n) * B, T, D): of the own memory, then swap after swap.
        """
        decoded = self.cross_attention(self.query_norm(words), self.memory_norm(memory), is_memory, swaps)
        is_token = is_token.repeat(1 + len(swaps), 1)
        for block in self.blocks:
            decoded = block(decoded, is_token)
        return self.norm(decoded)

    def attention(self, words: Tensor, memory: Tensor, is_memory: Tensor) -> Tensor:
        """Returns where each word looks in the image (B, T, S): the cross-attention, mean over its heads.

        Args:
            words, memory, is_memory: as in the forward pass.
        """
        normed = self.query_norm(words), self.memory_norm(memory)
        return self.cross_attention.weights(*normed, is_memory).mean(dim=1)
