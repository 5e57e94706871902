"""What the pre-training model looks at in single studies: kept patches, masked words, words asked of both views."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flvlp.models.encoders import Views
from flvlp.models.flvlp import FLVLP
from flvlp.types import Batch, TextFeatures


@dataclass(frozen=True, slots=True)
class MaskedWord:
    """A masked word as the MLM decoder saw it (docs/paper.md section 3).

    Attributes:
        word: its number in the report.
        targets, predicted: vocabulary ids of its pieces.
        attention: (P,) float32 over the patches of both views, mean over heads and pieces; carried back through the key
            semantics where there are some. Sums to 1; 0 on the patches of an absent lateral.
    """

    word: int
    targets: tuple[int, ...]
    predicted: tuple[int, ...]
    attention: Tensor

    @property
    def is_right(self) -> bool:
        """True where every piece is."""
        return self.targets == self.predicted


@dataclass(frozen=True, slots=True)
class AskedWord:
    """A word asked of both views by the alignment decoder (docs/paper.md section 4).

    Attributes:
        word: its number in the report.
        frontal, lateral: (Pf,), (Pl,) float32, where it looks in each view, mean over heads and pieces; each sums to 1.
        agreement: cosine in [-1, 1] between what the two views answer, mean over pieces.
    """

    word: int
    frontal: Tensor
    lateral: Tensor
    agreement: float


@dataclass(frozen=True, slots=True)
class Inspected:
    """One study; everything lies on the CPU.

    Attributes:
        study: its position in the source.
        grids: patch grids (rows, columns) of frontal and lateral; patches are row-major, the frontal's first.
        has_lateral: whether the model saw one.
        scores: (P,) float32 of `score_patches`, -inf where there is no patch; None without key semantics.
        is_kept: (P,) bool, None without key semantics.
        masked: the masked words in the order of the report; none without the term `mlm`.
        asked: its words; none without the term `view_alignment` or without a lateral.
    """

    study: int
    grids: tuple[tuple[int, int], tuple[int, int]]
    has_lateral: bool
    scores: Tensor | None
    is_kept: Tensor | None
    masked: tuple[MaskedWord, ...]
    asked: tuple[AskedWord, ...]


@torch.no_grad()
def inspect_studies(model: FLVLP, batch: Batch, word_of: Sequence[np.ndarray]) -> list[Inspected]:
    """Looks into the model, in evaluation mode; its mode and every generator are left as they were.

    Args:
        model: without DDP around it.
        batch: studies on the model's device; rows that are not valid are left out.
        word_of: the word of each piece of each report (T,) int64, -1 for none (`EncodedReport.word_of`).
    """
    was_training = model.training
    model.eval()
    views = model.encoders.encode_views(batch)
    text, masked_words = model.encode_reports(batch)
    count = len(batch.tokens)
    scores, is_kept = [None] * count, [None] * count
    masked: list[tuple[MaskedWord, ...]] = [()] * count
    asked: list[tuple[AskedWord, ...]] = [()] * count
    if masked_words is not None:
        memory, is_memory, choice = model.image_memory(batch, views, text)
        attention = model.mlm_decoder.attention(masked_words, memory, is_memory)
        if choice is not None:
            with torch.autocast(attention.device.type, enabled=False):
                attention = choice.back_to_patches(attention)
            scores, is_kept = list(choice.scores.float().cpu()), list(choice.is_kept.cpu())
        predicted = model.predict_masked(batch, views, text, masked_words).logits.argmax(dim=-1)
        masked = _masked_words(batch, predicted.cpu(), attention.float().cpu(), word_of)
    if "view_alignment" in model.terms:
        asked = _asked_words(model, batch, views, text, word_of)
    model.train(was_training)
    return [
        Inspected(
            study=int(batch.study_index[row]),
            grids=model.encoders.grids,
            has_lateral=bool(batch.has_lateral[row]),
            scores=scores[row],
            is_kept=is_kept[row],
            masked=masked[row],
            asked=asked[row],
        )
        for row in torch.nonzero(batch.is_valid).flatten().tolist()
    ]


def _masked_words(
    batch: Batch, predicted: Tensor, attention: Tensor, word_of: Sequence[np.ndarray]
) -> list[tuple[MaskedWord, ...]]:
    """Joins the predicted pieces (N,) and their attention (B, T, P) to words, study by study."""
    rows, columns = np.divmod(batch.masked_positions.cpu().numpy(), batch.tokens.shape[1])
    targets = batch.masked_targets.cpu()
    found = []
    for row, words in enumerate(word_of):
        of_row = np.flatnonzero(rows == row)
        numbers = words[columns[of_row]]
        pieces = [(int(word), of_row[numbers == word]) for word in np.unique(numbers)]
        found.append(
            tuple(
                MaskedWord(
                    word,
                    tuple(targets[which].tolist()),
                    tuple(predicted[which].tolist()),
                    attention[row, columns[which]].mean(dim=0),
                )
                for word, which in pieces
            )
        )
    return found


def _asked_words(
    model: FLVLP, batch: Batch, views: Views, text: TextFeatures, word_of: Sequence[np.ndarray]
) -> list[tuple[AskedWord, ...]]:
    """Returns the words of each study; none for a study without a lateral."""
    found: list[tuple[AskedWord, ...]] = [()] * len(batch.tokens)
    answers = model.align(batch, views, text)
    agreement = functional.cosine_similarity(answers.frontal.float(), answers.lateral.float(), dim=-1).cpu()  # (M, T)
    looks = []
    for patches in (views.frontal_patches, views.lateral_patches):
        memory = patches.index_select(0, views.lateral_rows)
        everywhere = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
        words = text.words.index_select(0, views.lateral_rows)
        looks.append(model.alignment_decoder.attention(words, memory, everywhere).float().cpu())
    for number, row in enumerate(views.lateral_rows.tolist()):
        words_here = word_of[row]
        pieces = [(word, np.flatnonzero(words_here == word)) for word in range(int(words_here.max()) + 1)]
        found[row] = tuple(
            AskedWord(
                word,
                looks[0][number, which].mean(dim=0),
                looks[1][number, which].mean(dim=0),
                float(agreement[number, which].mean()),
            )
            for word, which in pieces
        )
    return found
