"""Which words are hidden (docs/paper.md section 2), and that the unmasked report stays unmasked."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from flvlp.data.config import MaskingConfig
from flvlp.data.masking import load_entities, mask_report, word_rates
from flvlp.data.tokenizer import EncodedReport, ReportTokenizer
from tests.builders import make_tokenizer

WITH_ENTITY = "Small pleural effusion and mild atelectasis, otherwise unchanged (no pain)."
WITHOUT_ENTITY = "The patient is doing well today."
SEMANTIC = MaskingConfig()
CONFIGS = {
    "semantic": SEMANTIC,
    "random 15 %": MaskingConfig(kind="random", rate=0.15),
    "BERT": MaskingConfig(kind="random", replace="bert"),
    "equal rate": MaskingConfig(kind="random", rate=None),
}


@lru_cache
def tokenizer() -> ReportTokenizer:
    """Returns a tokenizer that spells entities of these reports in pieces."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return make_tokenizer(64, [" ".join([*letters, *",.()", letters, letters[::-1]])], vocab_size=61)  # letters alone


def encode(report: str) -> EncodedReport:
    return tokenizer().encode(report)


def hidden_words(report: EncodedReport, config: MaskingConfig, seed: int) -> np.ndarray:
    """Returns which words are hidden, and checks that all pieces of a word share its fate."""
    _, is_masked = mask_report(report, tokenizer(), config, np.random.default_rng(seed))
    hidden = np.zeros(len(report.words), dtype=bool)
    for number, word in enumerate(report.words):
        pieces = is_masked[report.word_of == number]
        assert pieces.all() or not pieces.any(), f"{word}: pieces {pieces.tolist()}"
        hidden[number] = pieces.all()
    return hidden


def share_hidden(report: EncodedReport, config: MaskingConfig, draws: int = 3000) -> np.ndarray:
    return np.mean([hidden_words(report, config, seed) for seed in range(draws)], axis=0)


def within(found: float, rate: float, draws: int) -> bool:
    return abs(found - rate) <= 3 * math.sqrt(rate * (1 - rate) / draws)


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_words_are_hidden_and_punctuation_and_special_tokens_never(name: str) -> None:
    report = encode(WITH_ENTITY)
    assert max(np.bincount(report.word_of[report.word_of >= 0])) > 3, "the test needs words of several pieces"
    for seed in range(200):
        hidden = hidden_words(report, CONFIGS[name], seed)
        marks = [word for word, is_hidden in zip(report.words, hidden, strict=True) if is_hidden and word in ",.()"]
        assert not marks, f"{name}, seed {seed}: punctuation hidden: {marks}"
        tokens, is_masked = mask_report(report, tokenizer(), CONFIGS[name], np.random.default_rng(seed))
        assert not is_masked[[0, -1]].any(), f"{name}, seed {seed}: a special token is hidden"
        assert tokens[[0, -1]].tolist() == report.tokens[[0, -1]].tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_report_itself_is_never_changed(name: str) -> None:
    report = encode(WITH_ENTITY)
    before = report.tokens.copy(), report.word_of.copy(), report.words
    for seed in range(50):
        tokens, is_masked = mask_report(report, tokenizer(), CONFIGS[name], np.random.default_rng(seed))
        assert not np.shares_memory(tokens, report.tokens)
        assert np.array_equal(tokens[~is_masked], report.tokens[~is_masked]), "a piece that is not hidden was changed"
    assert np.array_equal(report.tokens, before[0]), f"{report.tokens}, before {before[0]}"
    assert np.array_equal(report.word_of, before[1])
    assert report.words == before[2]


def test_a_hidden_piece_becomes_the_mask() -> None:
    report = encode(WITH_ENTITY)
    tokens, is_masked = mask_report(report, tokenizer(), SEMANTIC, np.random.default_rng(0))
    found = set(tokens[is_masked].tolist())
    assert found == {tokenizer().mask_id}, f"hidden pieces became {found}, the mask is {tokenizer().mask_id}"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("report", ["Clear.", "( Clear , lungs", "1"])
def test_at_least_one_word_is_hidden_the_first_if_the_draw_took_none(report: str, name: str) -> None:
    encoded = encode(report)
    first = next(i for i, word in enumerate(encoded.words) if word.isalnum())
    took_none = 0
    for seed in range(100):
        hidden = hidden_words(encoded, CONFIGS[name], seed)
        assert hidden.any(), f"{name}, seed {seed}: nothing hidden in {report!r}"
        drawn = np.random.default_rng(seed).random(len(encoded.words)) < word_rates(encoded.words, CONFIGS[name])
        if not drawn.any():
            took_none += 1
            assert np.flatnonzero(hidden).tolist() == [first], f"{hidden}, expected word {first} alone"
    assert took_none > 0, "the draw always took one: the test shows nothing"


def test_measured_rates_are_three_quarters_for_entities_and_0_65_beside_them() -> None:
    report = encode(WITH_ENTITY)
    draws = 3000
    found = share_hidden(report, SEMANTIC, draws)
    for word, share in zip(report.words, found, strict=True):
        rate = 0.75 if word in ("effusion", "atelectasis") else 0.65
        if word.isalnum():
            assert within(share, rate, draws), f"{word}: hidden in {share:.3f} of draws, rate {rate}"


def test_measured_rate_is_0_70_in_a_report_without_an_entity() -> None:
    report = encode(WITHOUT_ENTITY)
    found = share_hidden(report, SEMANTIC)[: len(report.words) - 1]
    words = len(found)
    assert within(float(found.mean()), 0.70, 3000 * words), f"{found.mean():.4f} of words hidden, rate 0.70"


def test_an_entity_that_truncation_cut_off_does_not_count() -> None:
    cut = make_tokenizer(max_tokens=12, reports=[WITHOUT_ENTITY, WITH_ENTITY], vocab_size=200)
    report = cut.encode("The patient is doing well today and tomorrow and the day after, effusion.")
    assert "effusion" not in report.words
    assert set(word_rates(report.words, SEMANTIC).tolist()) <= {0.70, 0.0}, f"{word_rates(report.words, SEMANTIC)}"


@pytest.mark.parametrize("word", ["opacities", "nodular", "emboli", "hyperinflated", "Atelectasis", "CHF", "aortic"])
def test_inflections_of_the_stems_are_entities_in_any_case(word: str) -> None:
    rates = word_rates(encode(f"mild {word} today").words, SEMANTIC)
    assert rates.tolist() == [0.65, 0.75, 0.65], f"{word}: rates {rates.tolist()}"


@pytest.mark.parametrize("word", ["massive", "massively", "contoured2", "heart", "hilarious", "edematousness"])
def test_words_that_only_begin_like_an_entity_are_none(word: str) -> None:
    rates = word_rates(encode(f"mild {word} today").words, SEMANTIC)
    assert rates.tolist() == [0.70, 0.70, 0.70], f"{word}: rates {rates.tolist()}"


# The paper's 44 stems, docs/paper.md section 2.
STEMS = (
    "abnormality abscess aerate aorta atelectasis bronchiectasis calcification cardiomediastinal cardiomegaly "
    "catheter chf collapse congestion consolidation contour copd deformity dilation "
    "distention edema effusion embolism emphysema engorgement fibrosis fracture granuloma "
    "hernia hilar hyperinflate hemidiaphragm infiltrate mass nodule obscure opacity "
    "perihilar pneumonia pneumothorax sarcoidosis silhouette thickening tuberculosis vasculature"
)


def test_all_stems_of_the_paper_are_in_the_list_that_ships() -> None:
    assert len(STEMS.split()) == 44
    missing = [stem for stem in STEMS.split() if stem not in load_entities()]
    assert not missing, f"missing from entities.txt: {missing}"


def test_random_masking_takes_15_percent_of_every_kind_of_word() -> None:
    report = encode(WITH_ENTITY)
    rates = word_rates(report.words, CONFIGS["random 15 %"])
    assert set(rates.tolist()) == {0.15, 0.0}, f"{rates}"


def test_random_at_the_semantic_rate_hides_as_many_words_as_semantic_does() -> None:
    for text in (WITH_ENTITY, WITHOUT_ENTITY):
        words = encode(text).words
        semantic, equal = word_rates(words, SEMANTIC), word_rates(words, CONFIGS["equal rate"])
        assert float(equal.sum()) == pytest.approx(float(semantic.sum())), f"{equal.sum()} words, {semantic.sum()}"
        assert len(set(equal[equal > 0].tolist())) == 1, f"{equal}: every word alike"


def test_bert_replaces_80_percent_by_the_mask_and_10_percent_by_a_random_piece() -> None:
    report = encode(WITHOUT_ENTITY)
    masks = randoms = kept = 0
    for seed in range(1500):
        tokens, is_masked = mask_report(
            report, tokenizer(), MaskingConfig(kind="random", rate=0.9, replace="bert"), np.random.default_rng(seed)
        )
        first = np.flatnonzero(is_masked & (report.word_of == np.unique(report.word_of[is_masked])[0]))[0]
        masks += tokens[first] == tokenizer().mask_id
        kept += tokens[first] == report.tokens[first]
        randoms += tokens[first] not in (tokenizer().mask_id, report.tokens[first])
        assert not set(tokens[is_masked].tolist()) & ({0, 1, 2, 3} - set(report.tokens.tolist())), "a special token"
    assert within(masks / 1500, 0.8, 1500), f"{masks / 1500:.3f} masks, expected 0.8"
    assert within(randoms / 1500, 0.1 * (1 - 1 / len(tokenizer().piece_ids)), 1500), f"{randoms / 1500:.3f} random"
    assert abs(kept / 1500 - 0.1) < 0.03, f"{kept / 1500:.3f} kept, expected 0.1"


def test_an_own_entity_file_replaces_the_list(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Pain\n\n  today \n")
    rates = word_rates(encode("no effusion, pain today").words, MaskingConfig(entities=str(path)))
    assert rates.tolist() == [0.65, 0.65, 0.0, 0.75, 0.75], f"{rates}"


@pytest.mark.parametrize("content", ["", "\n \n", "pleural effusion\nedema\n"])
def test_a_file_that_is_no_list_of_single_words_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / f"{len(content)}.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match="one word a line, at least one"):
        load_entities(str(path))


def test_a_missing_entity_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file .*absent\.txt"):
        load_entities(str(tmp_path / "absent.txt"))
