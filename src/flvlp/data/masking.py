"""Semantic-aware masking: which words of a report the model must predict (docs/paper.md section 2).

A pure function of the encoded report and a generator. The released code writes the mask into the unmasked caption's own
memory, so that its alignment losses see masked text; here the input is never changed.
"""

from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from flvlp.data.config import MaskingConfig
from flvlp.data.tokenizer import EncodedReport, ReportTokenizer

# BERT's replacement of a chosen word: [MASK], a random piece, or the piece itself (Devlin et al. 2019, section 3.1).
BERT_MASK_SHARE, BERT_RANDOM_SHARE = 0.8, 0.1


@lru_cache
def load_entities(path: str = "") -> frozenset[str]:
    """Returns the entity word forms, lower case, of a file with one a line; "" is the list of the package.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it holds no word, or more than one word on a line.
    """
    if path and not Path(path).is_file():
        raise FileNotFoundError(
            f"masking.entities: no such file ({path}); give one word form a line, or leave it empty"
        )
    shipped = resources.files("flvlp.data").joinpath("entities.txt")
    text = Path(path).read_text(encoding="utf-8") if path else shipped.read_text(encoding="utf-8")
    words = [line.strip().lower() for line in text.splitlines() if line.strip()]
    phrases = [word for word in words if len(word.split()) > 1]
    if phrases or not words:
        raise ValueError(f"masking.entities: {path}: one word a line, at least one; offending lines: {phrases[:3]}")
    return frozenset(words)


def word_rates(words: tuple[str, ...], config: MaskingConfig) -> np.ndarray:
    """Returns the probability in [0, 1] of each word to be masked; 0 for punctuation. (words,) float64."""
    is_maskable = np.array([any(character.isalnum() for character in word) for word in words], dtype=bool)
    if config.kind == "random" and config.rate is not None:
        return np.where(is_maskable, config.rate, 0.0)
    entities = load_entities(config.entities)
    is_entity = np.array([word in entities for word in words], dtype=bool)
    other = config.other_rate if is_entity.any() else config.no_entity_rate
    rates = np.where(is_entity, config.entity_rate, other)
    if config.kind == "random" and is_maskable.any():
        rates = np.full(len(words), rates[is_maskable].mean())
    return np.where(is_maskable, rates, 0.0)


def mask_report(
    report: EncodedReport, tokenizer: ReportTokenizer, config: MaskingConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Masks whole words of a report.

    Args:
        report: the encoded report; not changed.
        tokenizer: gives the [MASK] id and the ids a random piece is drawn from.
        config: which words, how often.
        generator: the only source of chance; one uniform number a word, in order.

    Returns:
        tokens (T,) int64 with masked words, and is_masked (T,) bool: the pieces to predict. At least one is: those of
        the first word that is no punctuation, if the draw took none.
    """
    rates = word_rates(report.words, config)
    is_chosen = generator.random(len(rates)) < rates
    if not is_chosen.any():
        is_chosen[np.argmax(rates > 0)] = True
    is_masked = (report.word_of >= 0) & is_chosen[report.word_of]
    tokens = report.tokens.copy()
    if config.replace == "mask":
        tokens[is_masked] = tokenizer.mask_id
        return tokens, is_masked
    kind = generator.random(len(rates))[report.word_of]
    is_random = is_masked & (kind >= BERT_MASK_SHARE) & (kind < BERT_MASK_SHARE + BERT_RANDOM_SHARE)
    tokens[is_masked & (kind < BERT_MASK_SHARE)] = tokenizer.mask_id
    tokens[is_random] = generator.choice(tokenizer.piece_ids, size=int(is_random.sum()))
    return tokens, is_masked
