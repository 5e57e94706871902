"""The pre-training model: what reaches each term, and what must not."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from flvlp.losses.config import LossConfig
from flvlp.losses.total import LossSum
from flvlp.models.flvlp import FLVLP
from flvlp.types import Batch, Output
from tests.builders import (
    ALL_TERMS,
    VOCABULARY,
    WIDTH,
    counts_of,
    encoder_config,
    heads_config,
    image_config,
    make_batch,
    make_model,
    pad_columns,
    rows_of,
)

BATCH = make_batch([True, False, True, True, False], is_valid=[True, True, True, True, False])
SUBSETS = [frozenset(subset) for size in range(1, 5) for subset in combinations(sorted(ALL_TERMS), size)]


def losses(model: FLVLP, batch: Batch) -> dict[str, Tensor]:
    return LossSum(LossConfig(), model.terms)(model(batch), counts_of(batch))


def mlm_logits(model: FLVLP, batch: Batch) -> Tensor:
    output: Output = model(batch)
    assert output.mlm is not None
    return output.mlm.logits.detach()


def test_every_output_has_its_shape() -> None:
    output = make_model(heads=heads_config(queue=7, lateral_negatives=2))(BATCH)
    studies, laterals, tokens = 5, 3, BATCH.tokens.shape[1]
    for name in ("frontal", "lateral", "fused", "report"):
        assert getattr(output, name).shape == (studies, WIDTH), f"{name}: {getattr(output, name).shape}"
    assert output.mlm is not None
    assert output.mlm.logits.shape == (len(BATCH.masked_positions), VOCABULARY), f"{output.mlm.logits.shape}"
    assert torch.equal(output.mlm.targets, BATCH.tokens.flatten()[BATCH.masked_positions])
    assert output.alignment is not None
    for name, shape in (
        ("frontal", (laterals, tokens, WIDTH)),
        ("lateral", (laterals, tokens, WIDTH)),
        ("is_word", (laterals, tokens)),
        ("frontal_negatives", (laterals, 2, tokens, WIDTH)),
        ("lateral_negatives", (laterals, 2, tokens, WIDTH)),
        ("is_negative", (laterals, 2)),
    ):
        assert getattr(output.alignment, name).shape == shape, f"{name}: {getattr(output.alignment, name).shape}"
    assert output.prototypes is not None
    assert output.prototypes.shape == (6, WIDTH)
    assert output.queue is not None
    assert output.queue.state().features.shape == (3, 7, WIDTH)


@pytest.mark.parametrize("terms", SUBSETS, ids=lambda terms: "+".join(sorted(terms)))
def test_any_terms_alone_give_every_trainable_parameter_a_gradient(terms: frozenset[str]) -> None:
    model = make_model(terms)
    for batch in (BATCH, make_batch([False, False]), make_batch([True])):
        model.zero_grad()
        losses(model, batch)["total"].backward()
        missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing, f"{sorted(terms)}: no gradient, so DDP would hang: {missing}"


@pytest.mark.parametrize("lateral", ["shared", "none"])
def test_other_laterals_give_every_trainable_parameter_a_gradient_too(lateral: str) -> None:
    terms = ALL_TERMS if lateral == "shared" else ALL_TERMS - {"view_alignment"}
    model = make_model(terms, encoder_config(lateral=image_config(backbone=lateral)))
    batch = BATCH if lateral == "shared" else make_batch([False, False, False])
    losses(model, batch)["total"].backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, f"lateral={lateral}: no gradient: {missing}"


def test_view_alignment_without_a_lateral_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a lateral encoder"):
        make_model(ALL_TERMS, encoder_config(lateral=image_config(backbone="none")))


@pytest.mark.parametrize("lateral", ["own", "shared"])
@pytest.mark.parametrize("terms", SUBSETS, ids=lambda terms: "+".join(sorted(terms)))
def test_every_trainable_parameter_is_in_exactly_one_group(terms: frozenset[str], lateral: str) -> None:
    encoder = encoder_config(lateral=image_config(backbone="shared") if lateral == "shared" else None)
    model = make_model(terms, encoder)
    groups = model.param_groups(5.0)
    placed = [id(p) for group in groups for p in group.parameters]
    wanted = {id(p) for p in model.parameters() if p.requires_grad}
    assert len(placed) == len(set(placed)), "a parameter is in two groups"
    assert set(placed) == wanted, f"{len(set(placed))} placed, {len(wanted)} trainable"
    assert len({group.name for group in groups}) == len(groups), f"{[group.name for group in groups]}"
    for group in groups:
        if not group.weight_decay:
            continue
        assert all(p.ndim > 1 for p in group.parameters), f"{group.name} decays a bias, a norm or a scalar"


def test_columns_of_padding_change_no_loss() -> None:
    model = make_model(heads=heads_config(lateral_negatives=2))
    one, other = losses(model.eval(), BATCH), losses(model, pad_columns(BATCH, 5))
    for name, value in one.items():
        assert float(other[name]) == pytest.approx(float(value), rel=1e-5), f"{name}: {value}, padded {other[name]}"


def test_the_order_of_studies_changes_no_loss() -> None:
    model = make_model().eval()
    one, other = losses(model, BATCH), losses(model, rows_of(BATCH, [3, 0, 4, 2, 1]))
    for name, value in one.items():
        assert float(other[name]) == pytest.approx(float(value), rel=1e-5), f"{name}: {value}, permuted {other[name]}"


def test_the_masked_text_reaches_mlm_and_no_other_term() -> None:
    model = make_model()
    swapped = replace(BATCH, masked_tokens=BATCH.masked_tokens.roll(1, 0).where(BATCH.is_token, BATCH.tokens))
    one, other = losses(model, BATCH), losses(model, swapped)
    for name in ("itc", "view_alignment", "prototype"):
        assert float(one[name]) == float(other[name]), f"{name}: {one[name]}, other masked text {other[name]}"
    assert abs(float(one["mlm"] - other["mlm"])) > 1e-4, f"mlm: {one['mlm']}, other masked text {other['mlm']}"


def test_masked_words_are_predicted_from_the_own_image() -> None:
    model = make_model().eval()
    before = mlm_logits(model, BATCH)
    frontal = BATCH.frontal.clone()
    frontal[2] = 255 - frontal[2]
    after = mlm_logits(model, replace(BATCH, frontal=frontal))
    study = BATCH.masked_positions // BATCH.tokens.shape[1]
    moved = (before - after).abs().amax(dim=1)
    own, others = float(moved[study == 2].min()), float(moved[study != 2].max())
    assert own > 1e-6, f"logits of the changed study moved by {own}, expected more than 0"
    assert others < 1e-6, f"logits of other studies moved by {others}, expected 0"


def test_key_semantics_are_chosen_with_the_own_unmasked_report_alone() -> None:
    model = make_model(heads=heads_config(keep_ratio=0.5)).eval()
    masked = [set(torch.nonzero(row).flatten().tolist()) for row in (BATCH.tokens != BATCH.masked_tokens)]
    tokens = BATCH.tokens.clone()
    for column in masked[2]:  # seen by the choice alone: the decoder's queries hide it
        tokens[2, column] = (tokens[2, column] + 11) % (VOCABULARY - 5) + 5
    before, after = mlm_logits(model, BATCH), mlm_logits(model, replace(BATCH, tokens=tokens))
    study = BATCH.masked_positions // BATCH.tokens.shape[1]
    moved = (before - after).abs().amax(dim=1)
    assert float(moved[study == 2].max()) > 1e-6, "the unmasked report does not guide the choice of patches"
    assert float(moved[study != 2].max()) < 1e-6, f"the report of study 2 moved other studies by {moved[study != 2]}"


def test_without_key_semantics_all_valid_patches_are_keys_and_the_report_guides_nothing() -> None:
    model = make_model(heads=heads_config(key_semantics=False)).eval()
    other_report = replace(BATCH, tokens=BATCH.tokens.where(~BATCH.is_word, 9))
    one, other = mlm_logits(model, BATCH), mlm_logits(model, other_report)
    assert torch.allclose(one, other, atol=1e-6), f"moved by {float((one - other).abs().max())}"
    flipped = replace(BATCH, lateral=255 - BATCH.lateral)
    moved = (one - mlm_logits(model, flipped)).abs().amax(dim=1)
    has_lateral = BATCH.has_lateral[BATCH.masked_positions // BATCH.tokens.shape[1]]
    assert float(moved[has_lateral].min()) > 1e-7
    assert float(moved[~has_lateral].max()) < 1e-6, f"studies without a lateral moved by {moved[~has_lateral]}"


def test_the_head_runs_on_masked_positions_only_and_the_text_in_one_pass_of_2b() -> None:
    model = make_model()
    head: list[tuple[int, ...]] = []
    text: list[tuple[int, ...]] = []
    model.mlm_head.register_forward_pre_hook(lambda _, args: head.append(tuple(args[0].shape)))
    model.encoders.text.register_forward_pre_hook(lambda _, args: text.append(tuple(args[0].shape)))
    model(BATCH)
    assert head == [(len(BATCH.masked_positions), WIDTH)], f"head saw {head}"
    assert text == [(2 * len(BATCH.tokens), BATCH.tokens.shape[1])], f"text encoder saw {text}"


def test_cost_of_the_choice_is_linear_in_the_number_of_studies() -> None:
    model = make_model(frozenset({"mlm"}))
    calls: list[int] = []
    assert model.key_semantics is not None
    model.key_semantics.weights.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    model(BATCH)
    assert calls == [len(BATCH.tokens)], f"patches of {calls} studies were weighed for {len(BATCH.tokens)} studies"


def test_without_itc_the_fused_head_is_frozen_and_gives_nothing() -> None:
    model = make_model(ALL_TERMS - {"itc"})
    assert model(BATCH).fused is None
    assert not any(p.requires_grad for p in model.encoders.fusion.parameters())
