"""Reports to word pieces, each piece knowing its word, so that masking and truncation work on whole words."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from flvlp.hub import prefer_cache_without_network

log = logging.getLogger(__name__)

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# A word seen fewer times than this is spelled in pieces. Credentialed reports use the larger figure, so that names and
# other rare strings never enter a saved vocabulary whole.
MIN_FREQUENCY = 2
MIN_FREQUENCY_CREDENTIALED = 20
MIN_TOKENS = 3  # [CLS], one piece, [SEP]
INSIDE = 0xF0000  # first private plane of Unicode; see `_learn_pieces`
LAST_SHIFTED = 0x20000  # letters from here on would leave Unicode when shifted; their words are not learned


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
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True  # "[SEP]" in a report is text, not an order; pickling forgets this
        encoding = backend.encode(report, add_special_tokens=False)
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
        """Writes the tokenizer where `load_tokenizer` finds it.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.tokenizer.save_pretrained(folder)
        except Exception as error:
            if type(error) is not Exception:
                raise
            raise OSError(f"{folder}: {error}") from error  # what tokenizers makes of a full disk has no class
        (folder / "report_tokenizer.json").write_text(json.dumps({"max_tokens": self.max_tokens}) + "\n")


def train_tokenizer(reports: Iterable[str], vocab_size: int, max_tokens: int, credentialed: bool) -> ReportTokenizer:
    """Learns a lower-case WordPiece vocabulary from the *training* reports.

    Args:
        reports: training reports only; held-out text must not shape the vocabulary.
        vocab_size: upper bound of entries.
        max_tokens: see `ReportTokenizer`.
        credentialed: drop rare words from the vocabulary (they are spelled in pieces).
    """
    ids = _learn_pieces(reports, vocab_size, MIN_FREQUENCY_CREDENTIALED if credentialed else MIN_FREQUENCY)
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    names = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    log.info("vocabulary: %d word pieces learned from the training reports", len(wrapped))
    return ReportTokenizer(wrapped, max_tokens)


def _learn_pieces(reports: Iterable[str], vocab_size: int, min_frequency: int) -> dict[str, int]:
    """Returns the word pieces of a vocabulary and their ids: the special tokens, single letters, then by merging.

    The WordPiece trainer of `tokenizers` numbers the letters inside words in the order of a hash table, which differs
    from process to process, and breaks ties of merging by these numbers. Its BPE trainer sorts plain letters, so those
    inside a word are shifted into a private plane of Unicode here and back afterwards.
    """
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()

    def shift(word: str) -> str:
        return word[0] + "".join(chr(ord(letter) + INSIDE) for letter in word[1:])

    def unshift(piece: str) -> str:
        letters = "".join(chr(ord(letter) - INSIDE * (ord(letter) >= INSIDE)) for letter in piece)
        return f"##{letters}" if ord(piece[0]) >= INSIDE else letters

    def marked() -> Iterator[str]:
        for report in reports:
            words = (word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(report)))
            yield " ".join(shift(word) for word in words if ord(max(word)) < LAST_SHIFTED)

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    learner.train_from_iterator(marked(), trainer)
    return {unshift(piece): number for piece, number in learner.get_vocab().items()}


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
