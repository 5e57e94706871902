"""Masked language modelling of reports alone: how a text encoder starts where there is no pre-trained BERT."""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from flvlp.models.encoders import split_param_groups
from flvlp.models.text_encoder import TextEncoder
from flvlp.types import ParamGroup, TrainableModel


class MaskedReportModel(TrainableModel):
    """A BERT trunk with the head of masked language modelling, whose last layer is the embedding itself.

    Source: Devlin et al. 2019, section 3.1.
    """

    def __init__(self, text: TextEncoder) -> None:
        """Takes the trunk of `text`; its projection to the joint width has no part in this."""
        super().__init__()
        self.trunk = text.trunk
        width = int(self.trunk.config.hidden_size)
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(self.embedding.new_zeros(len(self.embedding)))

    @property
    def embedding(self) -> Tensor:
        """The word embedding (V, H)."""
        weight: Tensor = self.trunk.get_input_embeddings().weight
        return weight

    def forward(self, masked_tokens: Tensor, is_token: Tensor, masked_positions: Tensor) -> Tensor:
        """Predicts the masked pieces.

        Args:
            masked_tokens: (B, T) int64.
            is_token: (B, T) bool, everything but padding.
            masked_positions: (N,) int64 in the flattened (B * T).

        Returns:
            logits (N, V).
        """
        seen = is_token[:, None, None, :]  # as in `TextEncoder.encode_text`
        hidden = self.trunk(input_ids=masked_tokens, attention_mask=seen).last_hidden_state  # (B, T, H)
        masked = hidden.flatten(0, 1).index_select(0, masked_positions)
        return functional.linear(self.transform(masked), self.embedding, self.bias)

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns every trainable parameter in exactly one group; all are new."""
        return split_param_groups(self, "text", set(), new_lr_scale)

    def save(self, folder: Path) -> None:
        """Writes the trunk in Hugging Face layout: config.json and model.safetensors."""
        self.trunk.save_pretrained(folder)
