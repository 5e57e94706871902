"""The pre-training model: encoders plus what the terms of the loss need; features out, no loss inside."""

from typing import Any

import torch
from torch import Tensor, nn

from flvlp.models.attention import WordDecoder
from flvlp.models.config import EncoderConfig, HeadsConfig
from flvlp.models.encoders import Encoders, Views, split_param_groups
from flvlp.models.queue import FeatureQueue
from flvlp.models.selection import Choice, KeySemantics
from flvlp.types import AlignmentOutput, Batch, MLMOutput, Output, ParamGroup, TextFeatures, TrainableModel


class FLVLP(TrainableModel):
    """Frontal + lateral + report model of docs/paper.md sections 3 to 5.

    Parts of a term that is switched off are not built; the fused head is kept (frozen) without `itc`, because nothing
    would train it.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        heads: HeadsConfig,
        terms: frozenset[str],
        vocab_size: int,
        text_architecture: dict[str, Any] | None = None,
    ) -> None:
        """Builds the model.

        Args:
            encoder: bundle of encoders.
            heads: sizes of what comes on top.
            terms: names of the terms that run, of `itc, mlm, view_alignment, prototype`.
            vocab_size: entries of the tokenizer.
            text_architecture: of saved encoders that are loaded next, see `Encoders`.

        Raises:
            ValueError: `view_alignment` without a lateral encoder; a text encoder that no term would train.
        """
        super().__init__()
        if "view_alignment" in terms and encoder.lateral.backbone == "none":
            raise ValueError("FLVLP: the term view_alignment needs a lateral encoder; set loss.view_alignment.weight=0")
        if not heads.words_train_text and not terms & {"itc", "prototype"}:
            raise ValueError(
                "FLVLP: nothing would train the text encoder: heads.words_train_text=false with the terms "
                f"{', '.join(sorted(terms))} alone; leave it true, or let itc or prototype run"
            )
        self.terms, self.words_train_text = terms, heads.words_train_text
        self.encoders = Encoders(encoder, vocab_size, text_architecture)
        self.encoders.fusion.requires_grad_("itc" in terms)
        width, head_width = encoder.width, heads.head_width
        if "mlm" in terms:
            patches = sum(rows * columns for rows, columns in self.encoders.grids)
            self.key_semantics = (
                KeySemantics(width, patches, heads.keep_ratio, heads.aggregate_percent) if heads.key_semantics else None
            )
            self.mlm_decoder = WordDecoder(width, head_width, heads.mlm_depth)
            self.mlm_head = nn.Sequential(
                nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, self.encoders.text.vocab_size)
            )
        if "view_alignment" in terms:
            self.alignment_decoder = WordDecoder(width, head_width, heads.alignment_depth)
        self.lateral_negatives = heads.lateral_negatives
        if "prototype" in terms:
            self.prototypes = nn.Parameter(nn.functional.normalize(torch.randn(heads.prototypes, width), dim=-1))
        self.queue = FeatureQueue(heads.queue, width) if "prototype" in terms and heads.queue else None

    def forward(self, batch: Batch) -> Output:
        """Returns what the active terms need for one micro-batch."""
        return self.complete(batch, self.encode(batch))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Runs the encoders on a micro-batch; row i of each result is of study i.

        Returns:
            `frontal_patches`, `frontal`, `lateral_patches`, `lateral` (see `Views`), `words`, `report`, and
            `masked_words` where `mlm` runs.
        """
        views = self.encoders.encode_views(batch)
        text, masked_words = self.encode_reports(batch)
        features = {
            "frontal_patches": views.frontal_patches,
            "frontal": views.frontal,
            "lateral_patches": views.lateral_patches,
            "lateral": views.lateral,
            "words": text.words,
            "report": text.report,
        }
        return features if masked_words is None else features | {"masked_words": masked_words}

    def complete(self, batch: Batch, features: dict[str, Tensor]) -> Output:
        """Returns what the active terms need, from what `encode` gave for the studies of a batch."""
        views = Views(
            features["frontal_patches"],
            features["frontal"],
            features["lateral_patches"],
            features["lateral"],
            batch.has_lateral,
            batch.lateral_rows,
        )
        text, masked_words = TextFeatures(features["words"], features["report"]), features.get("masked_words")
        return Output(
            frontal=views.frontal,
            lateral=views.lateral,
            report=text.report,
            has_lateral=batch.has_lateral,
            is_valid=batch.is_valid,
            fused=self.fuse(views),
            mlm=self.predict_masked(batch, views, text, masked_words) if masked_words is not None else None,
            alignment=self.align(batch, views, text) if "view_alignment" in self.terms else None,
            prototypes=self.prototypes if "prototype" in self.terms else None,
            queue=self.queue,
        )

    def encode_reports(self, batch: Batch) -> tuple[TextFeatures, Tensor | None]:
        """Encodes the unmasked and, where `mlm` runs, the masked reports; in one pass of 2B where both have a graph.

        Returns:
            features of the unmasked reports, and masked_words (B, T, D) or None.
        """
        if "mlm" not in self.terms:
            return self.encoders.encode_text(batch.tokens, batch.is_token), None
        if not self.words_train_text:
            with torch.no_grad():
                masked_words = self.encoders.encode_text(batch.masked_tokens, batch.is_token).words
            torch.clear_autocast_cache()  # it may keep weights cast without a graph, and hand them to the next pass
            return self.encoders.encode_text(batch.tokens, batch.is_token), masked_words
        tokens = torch.cat([batch.tokens, batch.masked_tokens])
        both = self.encoders.encode_text(tokens, torch.cat([batch.is_token, batch.is_token]))
        size = len(batch.tokens)
        return TextFeatures(both.words[:size], both.report[:size]), both.words[size:]

    def fuse(self, views: Views) -> Tensor | None:
        """Returns the fused image features (B, D), or None where nothing trains them."""
        if "itc" not in self.terms:
            return None
        return self.encoders.fuse(views.frontal, views.lateral, views.has_lateral)

    def image_memory(self, batch: Batch, views: Views, text: TextFeatures) -> tuple[Tensor, Tensor, Choice | None]:
        """Returns what masked words may look at.

        Returns:
            memory (B, S, D), is_memory (B, S) bool, and what the memory is made of; None where it is the patches of
            both views themselves.
        """
        patches, is_valid = views.patches()
        if self.key_semantics is None:
            return patches, is_valid, None
        memory, choice = self.key_semantics(patches, is_valid, text.words, batch.is_word)
        return memory, choice.is_key, choice

    def predict_masked(self, batch: Batch, views: Views, text: TextFeatures, masked_words: Tensor) -> MLMOutput:
        """Predicts the masked pieces from the images of `views` and the rest of the report (section 3)."""
        memory, is_memory, _ = self.image_memory(batch, views, text)
        decoded = self.mlm_decoder(masked_words, batch.is_token, memory, is_memory)
        masked = decoded.flatten(0, 1).index_select(0, batch.masked_positions)  # (N, D)
        return MLMOutput(self.mlm_head(masked), batch.masked_targets)

    def align(
        self, batch: Batch, views: Views, text: TextFeatures, lateral_patches: Tensor | None = None
    ) -> AlignmentOutput:
        """Asks both views with the words of each study that has both (section 4).

        Args:
            batch, views, text: of the micro-batch.
            lateral_patches: (B, Pl, D) to ask instead of the own laterals (validation's shuffled figure).

        Returns:
            features of the M studies; negatives (k > 0) in training only, rolled among these studies.
        """
        present = len(views.lateral_rows)
        # Without any lateral one study is asked all the same and left out: kernels on CUDA take no empty batch.
        rows = views.lateral_rows if present else views.lateral_rows.new_zeros(1)
        words = text.words if self.words_train_text else text.words.detach()
        words, is_word = words.index_select(0, rows), batch.is_word.index_select(0, rows)
        frontal = views.frontal_patches.index_select(0, rows)
        chosen = views.lateral_patches if lateral_patches is None else lateral_patches
        lateral = chosen.index_select(0, rows)
        negatives = min(self.lateral_negatives, max(present - 1, 0)) if self.training else 0
        others = [torch.arange(present, device=rows.device).roll(-shift) for shift in range(1, negatives + 1)]
        frontals = self._ask(words, is_word, frontal, others)
        laterals = self._ask(words, is_word, lateral, others)
        keys = batch.report_key.index_select(0, rows)
        is_negative = torch.stack([keys != keys[other] for other in others], dim=1) if others else is_word[:, :0]
        parts = frontals[:, 0], laterals[:, 0], is_word, frontals[:, 1:], laterals[:, 1:], is_negative
        return AlignmentOutput(*(part[:present] for part in parts))

    def _ask(self, words: Tensor, is_word: Tensor, patches: Tensor, others: list[Tensor]) -> Tensor:
        """Decodes words (M, T, D) against the own patches (M, P, D) and those of n others in one pass."""
        asked = self.alignment_decoder(words, is_word, patches, None, others)  # ((1 + n) * M, T, D)
        return asked.unflatten(0, (1 + len(others), len(words))).transpose(0, 1)

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns every trainable parameter in exactly one group; the heads are all new."""
        heads = nn.ModuleDict({name: child for name, child in self.named_children() if name != "encoders"})
        groups = self.encoders.param_groups(new_lr_scale) + split_param_groups(heads, "heads", set(), new_lr_scale)
        if "prototype" in self.terms:
            groups.append(ParamGroup("prototypes", [self.prototypes], new_lr_scale, weight_decay=False))
        return groups
