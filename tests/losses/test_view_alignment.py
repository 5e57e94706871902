"""Frontal-lateral alignment: against loops written from docs/paper.md section 4, closed forms, properties."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from flvlp.losses.config import ViewAlignmentConfig
from flvlp.losses.view_alignment import ViewAlignmentLoss, view_alignment_loss
from flvlp.types import AlignmentOutput, Counts, Output

SEEDS = range(20)
NEGATIVES = [0, 1, 3]
PARTS = ("frontal", "lateral", "frontal_negatives", "lateral_negatives")


def draw(seed: int, negatives: int, width: int = 5) -> AlignmentOutput:
    """Returns 1 to 7 studies with 1 to 6 words each, in 6 columns."""
    generator = torch.Generator().manual_seed(seed)
    studies, columns = seed % 7 + 1, 6
    lengths = torch.randint(1, columns + 1, (studies,), generator=generator)
    frontal, lateral = torch.randn(2, studies, columns, width, generator=generator)
    other_frontal, other_lateral = torch.randn(2, studies, negatives, columns, width, generator=generator)
    is_negative = torch.rand(studies, negatives, generator=generator) < 0.7
    is_word = torch.arange(columns) < lengths[:, None]
    return AlignmentOutput(frontal, lateral, is_word, other_frontal, other_lateral, is_negative)


def sum_by_loops(output: AlignmentOutput, temperature: float) -> float:
    """Symmetric InfoNCE, summed over words: word i of A against words of L and word i of other L; and back."""

    def similarity(one: Tensor, other: Tensor) -> float:
        one, other = one.double(), other.double()
        return float((one @ other) / (one.norm() * other.norm())) / temperature

    def minus_log(own: float, others: list[float]) -> float:
        highest = max(others)
        return -(own - highest - math.log(sum(math.exp(value - highest) for value in others)))

    total = 0.0
    for study in range(len(output.frontal)):
        words = [i for i in range(output.is_word.shape[1]) if output.is_word[study, i]]
        used = [j for j in range(output.is_negative.shape[1]) if output.is_negative[study, j]]
        ways = [
            (output.frontal[study], output.lateral[study], output.lateral_negatives[study]),
            (output.lateral[study], output.frontal[study], output.frontal_negatives[study]),
        ]
        for asking, asked, others in ways:
            for i in words:
                logits = [similarity(asking[i], asked[j]) for j in words]
                logits += [similarity(asking[i], others[k, i]) for k in used]
                total += minus_log(similarity(asking[i], asked[i]), logits) / 2
    return total


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_is_that_of_plain_loops(seed: int, negatives: int) -> None:
    output = draw(seed, negatives)
    found, expected = float(view_alignment_loss(output, 0.07)), sum_by_loops(output, 0.07)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5), f"loss {found}, loops {expected}"


def test_the_term_is_the_mean_over_words_of_studies_with_a_lateral() -> None:
    alignment = draw(4, 0)
    rows, mask = torch.zeros(1, 2), torch.ones(1, dtype=torch.bool)
    words = int(alignment.is_word.sum())
    output = Output(rows, rows, rows, mask, mask, alignment=alignment)
    term = ViewAlignmentLoss(ViewAlignmentConfig(temperature=0.2))
    found = float(term(output, Counts(torch.tensor(1.0), torch.tensor(float(words)))))
    expected = sum_by_loops(alignment, 0.2) / words
    assert found == pytest.approx(expected, rel=1e-5), f"loss {found}, mean of loops {expected}"


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_equal_words_everywhere_give_the_logarithm_of_the_number_of_columns(negatives: int) -> None:
    output = draw(6, negatives)
    alike = replace(output, **{part: torch.ones_like(getattr(output, part)) for part in PARTS})
    expected = 0.0
    for study in range(7):
        words, used = int(output.is_word[study].sum()), int(output.is_negative[study].sum())
        expected += words * math.log(words + used)
    found = float(view_alignment_loss(alike, 0.07))
    assert found == pytest.approx(expected, rel=1e-5), f"loss {found}, sum of logarithms {expected}"


def test_matched_orthonormal_words_give_their_closed_form() -> None:
    words = torch.eye(6)[None]
    nothing = torch.zeros(1, 0, 6, 6)
    output = AlignmentOutput(words, words, torch.ones(1, 6) > 0, nothing, nothing, torch.ones(1, 0) > 0)
    found, expected = float(view_alignment_loss(output, 0.5)) / 6, math.log(1 + 5 * math.exp(-2))
    assert found == pytest.approx(expected, rel=1e-5), f"loss {found}, closed form {expected}"


def test_a_report_of_one_word_without_negatives_gives_zero() -> None:
    output = draw(3, 0)
    single = replace(output, is_word=torch.arange(6).expand(len(output.frontal), 6) == 0)
    found = float(view_alignment_loss(single, 0.07))
    assert found == pytest.approx(0.0, abs=1e-6), f"loss {found}, expected 0"


def test_no_study_with_a_lateral_gives_zero_with_a_graph() -> None:
    empty = torch.zeros(0, 6, 5, requires_grad=True)
    nothing = torch.zeros(0, 0, 6, 5)
    output = AlignmentOutput(empty, empty, torch.zeros(0, 6) > 0, nothing, nothing, torch.zeros(0, 0) > 0)
    loss = view_alignment_loss(output, 0.07)
    loss.backward()
    assert float(loss) == 0, f"loss {float(loss)}, expected 0"
    assert empty.grad is not None


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("seed", SEEDS)
def test_padding_changes_nothing_and_gets_no_gradient(seed: int, negatives: int) -> None:
    output = draw(seed, negatives)
    expected = float(view_alignment_loss(output, 0.07))
    wider = {part: pad(getattr(output, part), (0, 0, 0, 2), value=3.0) for part in PARTS}
    is_word = pad(output.is_word, (0, 2))
    for part, values in wider.items():
        hidden = ~is_word if values.ndim == 3 else (~is_word).unsqueeze(1).expand(values.shape[:3])
        wider[part] = values.masked_fill(hidden.unsqueeze(-1), 1e4).requires_grad_()
    padded = AlignmentOutput(is_word=is_word, is_negative=output.is_negative, **wider)
    loss = view_alignment_loss(padded, 0.07)
    loss.backward()
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-5), f"{float(loss)} padded, {expected} without"
    for part in ("frontal", "lateral"):
        gradient = wider[part].grad
        assert gradient is not None
        leaked = float(gradient[~is_word].abs().sum())
        assert leaked == 0, f"gradient {leaked} of padding in {part}, expected 0"


@pytest.mark.parametrize("seed", SEEDS)
def test_studies_with_an_identical_report_are_no_negatives(seed: int) -> None:
    output = draw(seed, 3)
    expected = float(view_alignment_loss(output, 0.07))
    left_out = ~output.is_negative[..., None, None]
    changed = replace(
        output,
        frontal_negatives=output.frontal_negatives.masked_fill(left_out, 9.0),
        lateral_negatives=output.lateral.unsqueeze(1).where(left_out, output.lateral_negatives),
    )
    found = float(view_alignment_loss(changed, 0.07))
    assert found == pytest.approx(expected, rel=1e-6), f"{found} after changing identical reports, {expected} before"


def test_every_negative_raises_the_loss() -> None:
    with_negatives = replace(draw(5, 3), is_negative=torch.ones(6, 3, dtype=torch.bool))
    without = replace(with_negatives, is_negative=torch.zeros(6, 3, dtype=torch.bool))
    more, less = float(view_alignment_loss(with_negatives, 0.07)), float(view_alignment_loss(without, 0.07))
    assert more > less, f"{more} with negatives, {less} without"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_studies_and_the_scale_of_words_do_not_matter(seed: int) -> None:
    output = draw(seed, 2)
    order = torch.randperm(len(output.frontal), generator=torch.Generator().manual_seed(seed))
    parts = {part: getattr(output, part)[order] * 100 for part in PARTS}
    changed = AlignmentOutput(is_word=output.is_word[order], is_negative=output.is_negative[order], **parts)
    one, other = float(view_alignment_loss(output, 0.07)), float(view_alignment_loss(changed, 0.07))
    assert one == pytest.approx(other, rel=1e-4, abs=1e-5), f"{one} as drawn, {other} permuted and scaled"


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_loss_and_gradient_are_finite_at_any_scale(scale: float) -> None:
    for seed in SEEDS:
        output = draw(seed, 2)
        parts = {part: (getattr(output, part) * scale).requires_grad_() for part in PARTS}
        loss = view_alignment_loss(replace(output, **parts), 0.01)
        loss.backward()
        assert torch.isfinite(loss), f"loss {loss} at scale {scale}, seed {seed}"
        for part, values in parts.items():
            assert values.grad is not None
            assert torch.isfinite(values.grad).all(), f"gradient of {part} at scale {scale}, seed {seed}"


def test_a_model_without_aligned_words_is_told_so() -> None:
    rows, mask = torch.zeros(1, 2), torch.ones(1, dtype=torch.bool)
    with pytest.raises(ValueError, match="no aligned words"):
        counts = Counts(torch.tensor(1.0), torch.tensor(1.0))
        ViewAlignmentLoss(ViewAlignmentConfig())(Output(rows, rows, rows, mask, mask), counts)
