"""What the model looks at: attention is that of the forward pass, and lies only where a word may look."""

import pytest
import torch

from flvlp.inspection import Inspected, inspect_studies
from flvlp.models.flvlp import FLVLP
from flvlp.types import Batch
from tests.builders import ALL_TERMS, encoder_config, heads_config, image_config, make_batch, make_model

BATCH = make_batch([True, False, True, False], is_valid=[True, True, True, False])
# One piece a word but for the first, which has two.
WORD_OF = [torch.tensor([-1, *(max(piece - 1, 0) for piece in range(3 + row % 3)), -1]).numpy() for row in range(4)]
PATCHES = 4  # of each view


def inspect(model: FLVLP, batch: Batch = BATCH) -> list[Inspected]:
    return inspect_studies(model, batch, WORD_OF)


@pytest.mark.parametrize("key_semantics", [True, False])
def test_attention_of_a_masked_word_sums_to_one_and_is_zero_on_an_absent_lateral(key_semantics: bool) -> None:
    found = inspect(make_model(heads=heads_config(key_semantics=key_semantics, keep_ratio=0.6)))
    assert [one.study for one in found] == [0, 1, 2], "the study that cannot be read is left out"
    for one in found:
        assert one.masked
        for word in one.masked:
            total, beyond = float(word.attention.sum()), float(word.attention[PATCHES:].sum())
            assert word.attention.shape == (2 * PATCHES,)
            assert total == pytest.approx(1, abs=1e-5), f"study {one.study}: attention sums to {total}"
            assert (beyond > 0) == one.has_lateral, f"study {one.study}: {beyond} on the lateral, {one.has_lateral}"
        assert (one.is_kept is None) == (not key_semantics)


def test_attention_carried_back_gives_the_mixture_of_patches_that_the_word_saw() -> None:
    model = make_model(heads=heads_config(keep_ratio=0.6)).eval()
    with torch.no_grad():
        views = model.encoders.encode_views(BATCH)
        text, masked_words = model.encode_reports(BATCH)
        assert masked_words is not None
        memory, is_memory, choice = model.image_memory(BATCH, views, text)
        assert choice is not None
        attention = model.mlm_decoder.attention(masked_words, memory, is_memory)
        back = choice.back_to_patches(attention)
        patches, is_valid = views.patches()
    difference = float((back @ patches - attention @ memory).abs().max())
    assert difference < 1e-5, f"the mixture of patches differs from that of tokens by {difference}"
    assert float(back.masked_fill(is_valid[:, None], 0).abs().max()) == 0, "an absent patch is looked at"
    kept_only = attention.clone()
    kept_only[..., -1] = 0
    on_dropped = choice.back_to_patches(kept_only).masked_fill(choice.is_kept[:, None], 0)
    assert float(on_dropped.abs().max()) == 0, f"the kept tokens hold {on_dropped.max()} of a dropped patch"
    rest_only = attention - kept_only
    assert float(rest_only.sum()) > 0
    assert float(choice.back_to_patches(rest_only).masked_fill(~choice.is_kept[:, None], 0).abs().max()) == 0


def test_predicted_pieces_are_those_of_the_forward_pass_joined_to_words() -> None:
    model = make_model()
    found = inspect(model)
    output = model.eval()(BATCH)
    assert output.mlm is not None
    predicted = dict(zip(BATCH.masked_positions.tolist(), output.mlm.logits.argmax(dim=-1).tolist(), strict=True))
    columns = BATCH.tokens.shape[1]
    for one in found:
        row = one.study
        expected: dict[int, tuple[list[int], list[int]]] = {}
        for column, word in enumerate(WORD_OF[row]):
            position = row * columns + column
            if position in predicted:
                targets, guesses = expected.setdefault(int(word), ([], []))
                targets.append(int(BATCH.tokens[row, column]))
                guesses.append(predicted[position])
        assert {word.word: (list(word.targets), list(word.predicted)) for word in one.masked} == expected
        assert all(word.is_right == (expected[word.word][0] == expected[word.word][1]) for word in one.masked)


@torch.no_grad()
def test_words_are_asked_of_studies_with_both_views_and_agree_as_the_alignment_says() -> None:
    model = make_model()
    found = inspect(model)
    assert [bool(one.asked) for one in found] == [True, False, True]
    output = model.eval()(BATCH)
    assert output.alignment is not None
    for number, one in enumerate(one for one in found if one.asked):
        assert [word.word for word in one.asked] == list(range(WORD_OF[one.study].max() + 1))
        for word in one.asked:
            pieces = WORD_OF[one.study] == word.word
            pieces = [*pieces, *[False] * (BATCH.tokens.shape[1] - len(pieces))]
            sides = (output.alignment.frontal[number, pieces], output.alignment.lateral[number, pieces])
            agreement = float(torch.nn.functional.cosine_similarity(*sides, dim=-1).mean())
            assert word.agreement == pytest.approx(agreement, abs=1e-5)
            assert float(word.frontal.sum()) == pytest.approx(1, abs=1e-5)
            assert float(word.lateral.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("terms", [frozenset({"itc"}), frozenset({"view_alignment"}), frozenset({"mlm"})])
def test_what_a_term_does_not_train_is_not_shown(terms: frozenset[str]) -> None:
    found = inspect(make_model(terms))
    assert any(one.masked for one in found) == ("mlm" in terms)
    assert any(one.asked for one in found) == ("view_alignment" in terms)


def test_a_model_of_frontals_only_is_inspected_too() -> None:
    encoder = encoder_config(lateral=image_config(backbone="none"))
    found = inspect(make_model(ALL_TERMS - {"view_alignment"}, encoder), make_batch([False] * 4))
    assert found[0].grids == ((2, 2), (0, 0))
    assert found[0].masked[0].attention.shape == (PATCHES,)


@pytest.mark.parametrize("is_training", [True, False])
def test_neither_the_mode_nor_a_generator_nor_a_gradient_is_touched(is_training: bool) -> None:
    model = make_model().train(is_training)
    before = torch.get_rng_state()
    inspect(model)
    assert model.training == is_training
    assert torch.equal(before, torch.get_rng_state()), "the global generator has moved"
    assert all(parameter.grad is None for parameter in model.parameters())
