"""Reports to word pieces: truncation, the learned vocabulary, saving."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flvlp.data.tokenizer import load_tokenizer, train_tokenizer
from tests.builders import REPORTS, make_tokenizer
from tests.processes import largest_file

LEARN = """
import random
from flvlp.data.tokenizer import train_tokenizer
draw = random.Random(0)
words = ["".join(draw.choice("abcdefghijklmnop") for _ in range(draw.randint(2, 9))) for _ in range(200)]
reports = [" ".join(draw.choice(words) for _ in range(20)) + "." for _ in range(100)]
print(sorted(train_tokenizer(reports, 300, 32, False).tokenizer.get_vocab().items()))
"""


def test_the_vocabulary_is_the_same_in_every_process() -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", LEARN], env={"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True)
        for seed in ("1", "2")
    ]
    one, other = (process.communicate(timeout=60)[0] for process in processes)
    assert one, "the process printed nothing"
    assert one == other, f"{one[:300]} ... in one process, {other[:300]} ... in another"


def test_special_tokens_come_first_and_every_letter_of_the_reports_has_a_piece() -> None:
    vocabulary = make_tokenizer().tokenizer.get_vocab()
    first = sorted(vocabulary, key=lambda piece: vocabulary[piece])[:5]
    assert first == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], f"{first}"
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))), "ids have gaps"
    words = " ".join(REPORTS).lower().replace(".", " . ").replace(",", " , ").split()
    missing = [word for word in words if word[0] not in vocabulary or any(f"##{c}" not in vocabulary for c in word[1:])]
    assert not missing, f"letters of {missing} have no piece"


@pytest.mark.parametrize("size", [60, 90, 120])
def test_the_vocabulary_is_no_larger_than_asked_and_spells_frequent_words_whole(size: int) -> None:
    tokenizer = make_tokenizer(vocab_size=size)
    assert len(tokenizer) <= size, f"{len(tokenizer)} entries, asked for at most {size}"
    pieces = [len(make_tokenizer(vocab_size=s, max_tokens=99).encode(REPORTS[3]).tokens) for s in (size, size + 100)]
    assert pieces[1] < pieces[0], f"{pieces[0]} pieces at {size} entries, {pieces[1]} at {size + 100}"


def test_pieces_know_their_words_and_words_are_lower_case_strings_of_the_report() -> None:
    encoded = make_tokenizer(max_tokens=99).encode("Patchy OPACITIES, no effusion.")
    assert encoded.words == ("patchy", "opacities", ",", "no", "effusion", ".")
    assert encoded.word_of[0] == encoded.word_of[-1] == -1
    inside = encoded.word_of[1:-1]
    assert np.array_equal(np.unique(inside), np.arange(6)), f"{inside}"
    assert (np.diff(inside) >= 0).all(), f"{inside}"
    assert len(encoded.tokens) == len(encoded.word_of)


@pytest.mark.parametrize("limit", range(3, 40))
def test_reports_are_cut_at_the_end_of_a_word(limit: int) -> None:
    for report in REPORTS:
        whole = make_tokenizer(max_tokens=200).encode(report)
        cut = make_tokenizer(max_tokens=limit).encode(report)
        assert len(cut.tokens) <= limit, f"{len(cut.tokens)} pieces, limit {limit}"
        assert cut.tokens[0] == whole.tokens[0]
        assert cut.tokens[-1] == whole.tokens[-1]
        words = len(cut.words)
        sizes = np.bincount(whole.word_of[1:-1])
        fitting = int((np.cumsum(sizes) <= limit - 2).sum())
        assert words == max(fitting, 1), f"{words} words of sizes {sizes} in {limit} pieces, expected {fitting}"
        if fitting:
            kept = int(sizes[:fitting].sum())
            assert np.array_equal(cut.tokens[1:-1], whole.tokens[1 : kept + 1])
            assert cut.words == whole.words[:fitting]


def test_a_first_word_longer_than_the_limit_is_cut_inside() -> None:
    encoded = make_tokenizer(max_tokens=5).encode("esophagogastroduodenoscopy normal")
    assert len(encoded.tokens) == 5, f"{len(encoded.tokens)} pieces, limit 5"
    assert encoded.word_of.tolist() == [-1, 0, 0, 0, -1], f"{encoded.word_of}"


def test_special_tokens_written_in_a_report_are_text() -> None:
    tokenizer = make_tokenizer()
    encoded = tokenizer.encode("[SEP] heart [MASK]")
    specials = set(encoded.tokens[1:-1].tolist()) & {tokenizer.mask_id, int(encoded.tokens[0]), int(encoded.tokens[-1])}
    assert not specials, f"special tokens {specials} inside {encoded.tokens}"


def test_a_saved_tokenizer_is_loaded_identical(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(max_tokens=17)
    tokenizer.save(tmp_path / "tokenizer")
    loaded = load_tokenizer(tmp_path / "tokenizer")
    assert loaded.tokenizer.get_vocab() == tokenizer.tokenizer.get_vocab()
    assert (loaded.max_tokens, loaded.pad_id, loaded.mask_id) == (17, tokenizer.pad_id, tokenizer.mask_id)
    for report in (*REPORTS, "[SEP] unseen wörds"):
        one, other = tokenizer.encode(report), loaded.encode(report)
        assert one.tokens.tolist() == other.tokens.tolist(), f"{report}: {one.tokens}, loaded {other.tokens}"
        assert one.words == other.words


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    make_tokenizer().save(tmp_path / "whole")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "whole").iterdir()}
    assert max(sizes, key=lambda name: sizes[name]) == "tokenizer.json", "it is the one that tokenizers writes itself"
    for size in (sizes["tokenizer.json"] - 1, 20):
        with largest_file(size), pytest.raises(OSError, match="File too large"):
            make_tokenizer().save(tmp_path / "tokenizer")


def test_an_error_of_the_program_is_none_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        raise TypeError("a mistake")

    tokenizer = make_tokenizer()
    monkeypatch.setattr(tokenizer.tokenizer, "save_pretrained", broken)
    with pytest.raises(TypeError, match="a mistake"):
        tokenizer.save(tmp_path / "tokenizer")


def test_credentialed_reports_leave_no_rare_word_in_the_vocabulary() -> None:
    reports = ["no effusion in the lungs"] * 40 + ["mr featherstonehaugh has no effusion"] * 19
    open_one = train_tokenizer(reports, 400, 32, credentialed=False).tokenizer.get_vocab()
    closed = train_tokenizer(reports, 400, 32, credentialed=True).tokenizer.get_vocab()
    assert "featherstonehaugh" in open_one
    assert "effusion" in closed
    longest = max((piece.strip("#") for piece in closed if piece.strip("#") in "featherstonehaugh"), key=len)
    assert "featherstonehaugh" not in closed
    assert len(longest) <= 3, f"{longest} of a name seen 19 times is in the vocabulary"


def test_decoding_gives_the_text_back() -> None:
    tokenizer = make_tokenizer(max_tokens=99)
    found = tokenizer.decode(tokenizer.encode(REPORTS[0]).tokens.tolist())
    assert found == "no acute abnormality. the heart is normal.", f"{found!r}"


def test_a_limit_that_leaves_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens must be at least 3, got 2"):
        make_tokenizer(max_tokens=2)
