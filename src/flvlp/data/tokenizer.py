"""Reports to word pieces, each piece knowing its word, so that masking and truncation work on whole words."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from flvlp.hub import prefer_cache_without_network

log = logging.getLogger(__name__)

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# A word seen fewer times than this is spelled in pieces. Credentialed reports use the larger figure, so that names and
# other rare strings never enter a saved vocabulary whole.
MIN_FREQUENCY = 2
MIN_FREQUENCY_CREDENTIALED = 20
MIN_TOKENS = 3  # [CLS], one piece, [SEP]


@dataclass(frozen=True, slots=True)
class EncodedReport:
    """One report as word pieces, truncated at the end of a word.

    Attributes:
        tokens: (T,) int64 vocabulary ids with [CLS] first and [SEP] last.
        word_of: (T,) int64, the word each piece belongs to, -1 for [CLS] and [SEP].
        words: the word strings, lower case, words[word_of[i]] for piece i.
    """

    tokens: np.ndarray
    word_of: np.ndarray
    words: tuple[str, ...]


class ReportTokenizer:
    """A fast tokenizer with BERT's special tokens, and what the data side asks of it."""

    def __init__(self, tokenizer: Any, max_tokens: int = 128) -> None:
        """Wraps `tokenizer`; reports are cut to `max_tokens` pieces, [CLS] and [SEP] included.

        Raises:
            ValueError: a special token is missing, or `max_tokens` is smaller than 3.
        """
        missing = [name for name in ("pad", "cls", "sep", "mask") if getattr(tokenizer, f"{name}_token_id") is None]
        if missing:
            raise ValueError(
                f"ReportTokenizer: no {', '.join(missing)} token; take the tokenizer of a BERT-like encoder"
            )
        if max_tokens < MIN_TOKENS:
            raise ValueError(f"ReportTokenizer: max_tokens must be at least {MIN_TOKENS}, got {max_tokens}")
        tokenizer.backend_tokenizer.no_truncation()  # some published tokenizers bring both switched on
        tokenizer.backend_tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.pad_id, self.mask_id = int(tokenizer.pad_token_id), int(tokenizer.mask_token_id)
        self._cls_id, self._sep_id = int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)
        special = set(tokenizer.all_special_ids)
        self.piece_ids = np.array([i for i in range(len(tokenizer)) if i not in special], dtype=np.int64)

    def __len__(self) -> int:
        """Returns the number of vocabulary entries."""
        return len(self.tokenizer)

    def encode(self, report: str) -> EncodedReport:
        """Returns the pieces of a report. A first word longer than the limit is cut inside: something must be left."""
        encoding = self.tokenizer.backend_tokenizer.encode(report, add_special_tokens=False)
        limit = self.max_tokens - 2
        ids, word_of = encoding.ids, [-1 if word is None else word for word in encoding.word_ids]
        end = len(ids)
        if end > limit:
            end = limit
            while end > 0 and word_of[end] == word_of[end - 1]:
                end -= 1
            end = end or limit
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for word, (start, stop) in zip(word_of[:end], encoding.offsets[:end], strict=True):
            first.setdefault(word, start)
            last[word] = stop
        words = tuple(report[first[word] : last[word]].lower() for word in first)
        number = {word: position for position, word in enumerate(first)}
        return EncodedReport(
            tokens=np.array([self._cls_id, *ids[:end], self._sep_id], dtype=np.int64),
            word_of=np.array([-1, *(number[word] for word in word_of[:end]), -1], dtype=np.int64),
            words=words,
        )

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of vocabulary ids, special tokens left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Writes the tokenizer where `load_tokenizer` finds it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        (folder / "report_tokenizer.json").write_text(json.dumps({"max_tokens": self.max_tokens}) + "\n")


def train_tokenizer(reports: Iterable[str], vocab_size: int, max_tokens: int, credentialed: bool) -> ReportTokenizer:
    """Learns a lower-case WordPiece vocabulary from the *training* reports.

    Args:
        reports: training reports only; held-out text must not shape the vocabulary.
        vocab_size: upper bound of entries.
        max_tokens: see `ReportTokenizer`.
        credentialed: drop rare words from the vocabulary (they are spelled in pieces).
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY_CREDENTIALED if credentialed else MIN_FREQUENCY,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(reports, trainer)
    ids = {token: number for number, token in enumerate(SPECIAL_TOKENS)}  # the trainer gives them the first ids
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    names = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    log.info("vocabulary: %d word pieces learned from the training reports", len(wrapped))
    return ReportTokenizer(wrapped, max_tokens)


def pretrained_tokenizer(name_or_folder: str, max_tokens: int) -> ReportTokenizer:
    """Loads the tokenizer that belongs to pre-trained text weights, from the local cache, a folder, or the hub.

    Raises:
        FileNotFoundError: it is in neither, with what to set.
    """
    prefer_cache_without_network()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_folder, use_fast=True)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"tokenizer: cannot load {name_or_folder!r} ({type(error).__name__}); without a network set "
            "encoder.text.weights to a local folder in Hugging Face layout, or encoder.text.weights=random"
        ) from error
    return ReportTokenizer(tokenizer, max_tokens)


def load_tokenizer(folder: Path) -> ReportTokenizer:
    """Loads what `ReportTokenizer.save` wrote."""
    settings = json.loads((folder / "report_tokenizer.json").read_text())
    return ReportTokenizer(PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True), **settings)
