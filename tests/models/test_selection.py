"""Key semantics: against loops written from docs/paper.md section 3, and the released code's mistakes (section 7)."""

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from flvlp.models.selection import KeySemantics, keep_best, score_patches

SEEDS = range(20)
WIDTH, PATCHES, TOKENS = 10, 11, 6
Study = tuple[Tensor, Tensor, Tensor, Tensor]


def draw(seed: int, size: int | None = None) -> Study:
    """Returns patches, is_valid (every other study lacks the last 4 patches), words and is_word of 1 to 7 studies."""
    generator = torch.Generator().manual_seed(seed)
    size = size or seed % 7 + 1
    patches = torch.randn(size, PATCHES, WIDTH, generator=generator) + 0.5
    is_valid = torch.ones(size, PATCHES, dtype=torch.bool)
    is_valid[::2, -4:] = False
    words = torch.randn(size, TOKENS, WIDTH, generator=generator)
    lengths = torch.randint(1, TOKENS - 1, (size, 1), generator=generator)
    columns = torch.arange(TOKENS)
    return patches, is_valid, words, (columns > 0) & (columns <= lengths)


def module(keep_ratio: float = 0.8, seed: int = 0) -> KeySemantics:
    torch.manual_seed(seed)
    made = KeySemantics(WIDTH, PATCHES, keep_ratio, 56)
    torch.nn.init.normal_(made.scale, 2.0, 0.1)
    return made


def tokens_of(made: KeySemantics, studies: Study) -> tuple[Tensor, Tensor]:
    """Returns the key semantics and which of them exist."""
    tokens, choice = made(*studies)
    return tokens, choice.is_key


def cosine(one: Tensor, other: Tensor) -> float:
    return float((one @ other) / (one.norm() * other.norm()))


def scores_by_loops(patches: Tensor, is_valid: Tensor, words: Tensor, is_word: Tensor) -> dict[int, float]:
    """Scores of one study's valid patches: cosine to their mean and to the mean of its own words."""
    patches, words = patches.double(), words.double()
    valid = [p for p in range(len(patches)) if is_valid[p]]
    asked = [t for t in range(len(words)) if is_word[t]]
    mean_patch = torch.stack([patches[p] for p in valid]).sum(0) / len(valid)
    mean_word = torch.stack([words[t] for t in asked]).sum(0) / len(asked)
    return {p: cosine(patches[p], mean_patch) + cosine(patches[p], mean_word) for p in valid}


def key_semantics_by_loops(made: KeySemantics, study: Study, kept_percent: int) -> tuple[Tensor, list[bool]]:
    """Key semantics (S + 1, D) of one study, and which of them exist, patch by patch."""
    patches = study[0].double()
    scores = scores_by_loops(*study)
    count = -(-kept_percent * len(scores) // 100)
    order = sorted(scores, key=lambda p: -scores[p])
    kept, rest = order[:count], order[count:]
    norm, first, _, second = (cast(Any, layer) for layer in made.weights.double())
    size = (56 * PATCHES) // 100
    tokens = []
    for s in range(size):
        logits = []
        for p in kept:
            mean, variance = patches[p].mean(), patches[p].var(unbiased=False)
            normed = (patches[p] - mean) / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias
            hidden = first.weight @ normed + first.bias
            hidden = torch.stack([h * 0.5 * (1 + math.erf(float(h) / math.sqrt(2))) for h in hidden])
            logits.append(float(made.scale) * float(second.weight[s] @ hidden + second.bias[s]))
        total = sum(math.exp(value) for value in logits)
        shares = [math.exp(value) / total for value in logits]
        tokens.append(torch.stack([share * patches[p] for share, p in zip(shares, kept, strict=True)]).sum(dim=0))
    extra = torch.zeros(WIDTH, dtype=torch.float64)
    for p in rest:
        extra += math.exp(scores[p]) / sum(math.exp(scores[q]) for q in rest) * patches[p]
    return torch.stack([*tokens, extra]).float(), [True] * size + [bool(rest)]


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_are_those_of_plain_loops_and_absent_patches_have_none(seed: int) -> None:
    studies = draw(seed)
    found = score_patches(*studies)
    for row in range(len(found)):
        expected = scores_by_loops(*(part[row] for part in studies))
        for patch in range(PATCHES):
            wanted = expected.get(patch, -math.inf)
            value = float(found[row, patch])
            assert value == pytest.approx(wanted, rel=1e-5, abs=1e-6), f"study {row} patch {patch}: {value}, {wanted}"


@pytest.mark.parametrize("keep_percent", [80, 50, 100])
@pytest.mark.parametrize("seed", range(7))
def test_key_semantics_are_those_of_plain_loops(seed: int, keep_percent: int) -> None:
    studies, made = draw(seed), module(keep_percent / 100)
    found, exists = tokens_of(made, studies)
    for row in range(len(found)):
        study: Study = tuple(part[row] for part in studies)  # type: ignore[assignment]
        expected, expected_exists = key_semantics_by_loops(made, study, keep_percent)
        assert exists[row].tolist() == expected_exists, f"study {row}: {exists[row].tolist()}, loops {expected_exists}"
        difference = float((found[row] - expected)[exists[row]].abs().max())
        assert difference < 1e-5, f"study {row}: {found[row]}, loops {expected}, largest difference {difference}"
        made.float()


def test_scores_are_in_float32_under_autocast_too() -> None:
    patches, *others = draw(1, 3)
    patches = patches.mean(dim=1, keepdim=True) + 0.01 * patches  # alike, as those of a lung field
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = score_patches(patches, *others)
    assert scores.dtype == torch.float32 and torch.equal(scores, score_patches(patches, *others))
    assert len(scores[1].bfloat16().unique()) < len(scores[1].unique()) == PATCHES, "bfloat16 would tie some of them"


def test_four_fifths_of_the_valid_patches_are_kept_rounded_up_for_every_count_to_245() -> None:
    counts = torch.arange(1, 246)
    scores = torch.rand(245, 245, generator=torch.Generator().manual_seed(0))
    scores = scores.masked_fill(torch.arange(245) >= counts[:, None], -math.inf)
    found = keep_best(scores, 0.8).sum(dim=1).tolist()
    expected = [(4 * count + 4) // 5 for count in counts.tolist()]
    wrong = [(n, a, b) for n, a, b in zip(counts.tolist(), found, expected, strict=True) if a != b]
    assert not wrong, f"(valid, kept, 0.8 x valid rounded up): {wrong[:5]}"


@pytest.mark.parametrize("percent", [1, 7, 10, 30, 55, 60, 70, 90, 100])
def test_other_shares_are_rounded_up_exactly_too(percent: int) -> None:
    counts = torch.arange(1, 246)
    scores = torch.zeros(245, 245).masked_fill(torch.arange(245) >= counts[:, None], -math.inf)
    found = keep_best(scores, percent / 100).sum(dim=1).tolist()
    expected = [-(-percent * count // 100) for count in counts.tolist()]
    assert found == expected, f"{percent} %: {found[:20]}, exactly {expected[:20]}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_are_kept_and_ties_fall_to_the_first(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (5, PATCHES), generator=generator).float()
    scores[:, seed % PATCHES] = -math.inf
    found = keep_best(scores, 0.5)
    for row in range(5):
        order = sorted(range(PATCHES), key=lambda p: (-float(scores[row, p]), p))
        expected = sorted(order[:5])
        kept = torch.nonzero(found[row]).flatten().tolist()
        assert kept == expected, f"scores {scores[row].tolist()}: kept {kept}, expected {expected}"


@pytest.mark.parametrize("seed", SEEDS)
def test_permuting_the_batch_permutes_the_output(seed: int) -> None:
    studies, made = draw(seed, 6), module()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    one, exists = tokens_of(made, studies)
    patches, is_valid, words, is_word = (part[order] for part in studies)
    other, exists_other = tokens_of(made, (patches, is_valid, words, is_word))
    assert torch.equal(exists[order], exists_other)
    difference = float((one[order] - other).abs().max())
    assert difference < 1e-5, f"{one[order]} permuted after, {other} before; largest difference {difference}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_study_is_guided_by_its_own_report_and_by_no_other(seed: int) -> None:
    patches, is_valid, words, is_word = draw(seed, 5)
    made, changed = module(keep_ratio=0.5), seed % 5  # half is left over: the extra token shows every change
    before = made(patches, is_valid, words, is_word)[0]
    others = words.clone()
    others[changed] = -patches[changed].mean(dim=0) * 3
    after = made(patches, is_valid, others, is_word)[0]
    moved = (before - after).abs().amax(dim=(1, 2))
    for row in range(5):
        assert (float(moved[row]) > 1e-4) == (row == changed), (
            f"report {changed} changed, study {row} moved {moved[row]}"
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_padding_words_and_absent_laterals_change_nothing(seed: int) -> None:
    patches, is_valid, words, is_word = draw(seed)
    made = module()
    before, exists = tokens_of(made, (patches, is_valid, words, is_word))
    patches = patches.masked_fill(~is_valid[..., None], 50.0)
    words = words.masked_fill(~is_word[..., None], -50.0)
    after, exists_after = tokens_of(made, (patches, is_valid, words, is_word))
    difference = float((before - after).abs().max())
    assert difference < 1e-5, f"{before} before, {after} after; largest difference {difference}"
    assert torch.equal(exists, exists_after)


def test_absent_patches_get_no_gradient_and_kept_ones_do() -> None:
    patches, is_valid, words, is_word = draw(6)
    patches.requires_grad_()
    module()(patches, is_valid, words, is_word)[0].square().sum().backward()
    assert patches.grad is not None
    absent = float(patches.grad[~is_valid].abs().sum())
    present = patches.grad[is_valid].abs().sum(dim=-1).min()
    assert absent == 0, f"gradient {absent} of absent patches, expected 0"
    assert float(present) > 0, f"smallest gradient of a valid patch {float(present)}, expected more than 0"


def test_no_gradient_runs_through_the_scores() -> None:
    patches, is_valid, words, is_word = draw(6)
    words.requires_grad_()
    scores = score_patches(patches.requires_grad_(), is_valid, words, is_word)
    assert not scores.requires_grad
    module()(patches, is_valid, words, is_word)[0].sum().backward()
    assert words.grad is None, f"gradient {words.grad} of the words that only guide the choice"


def test_the_extra_token_is_masked_out_where_nothing_is_left_over() -> None:
    patches, is_valid, words, is_word = draw(6)
    tokens, exists = tokens_of(module(keep_ratio=1.0), (patches.requires_grad_(), is_valid, words, is_word))
    assert not exists[:, -1].any(), f"{exists[:, -1]}, expected all False"
    tokens[exists].sum().backward()
    assert torch.isfinite(tokens).all()
    assert patches.grad is not None
    assert torch.isfinite(patches.grad).all()


@pytest.mark.parametrize(("frontal", "lateral"), [(196, 49), (49, 49), (64, 0), (1, 0)])
def test_every_study_gets_the_same_number_of_tokens(frontal: int, lateral: int) -> None:
    made = KeySemantics(WIDTH, frontal + lateral, 0.8, 56)
    patches = torch.randn(2, frontal + lateral, WIDTH)
    is_valid = torch.ones(2, frontal + lateral, dtype=torch.bool)
    is_valid[1, frontal:] = False
    words, is_word = torch.randn(2, 3, WIDTH), torch.ones(2, 3, dtype=torch.bool)
    tokens, exists = tokens_of(made, (patches, is_valid, words, is_word))
    size = max(1, (56 * (frontal + lateral)) // 100)
    assert tokens.shape == (2, size + 1, WIDTH), f"shape {tuple(tokens.shape)}, expected S + 1 = {size + 1}"
    assert exists[:, :size].all()


def test_the_hidden_layer_has_a_fifth_of_the_width_and_the_scale_starts_at_one() -> None:
    made = KeySemantics(500, 245, 0.8, 56)
    assert made.weights[1].out_features == 100, f"{made.weights[1].out_features} hidden, 0.2 x 500 = 100"
    assert made.size == 137, f"S = {made.size}, (56 x 245) // 100 = 137"
    assert float(made.scale.detach()) == 1.0, f"scale {made.scale}, expected 1"


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_key_semantics_and_gradient_are_finite_at_any_scale(scale: float) -> None:
    for seed in SEEDS:
        patches, is_valid, words, is_word = draw(seed)
        patches = (patches * scale).requires_grad_()
        tokens = module()(patches, is_valid, words * scale, is_word)[0]
        tokens.sum().backward()
        assert torch.isfinite(tokens).all(), f"tokens {tokens} at scale {scale}, seed {seed}"
        assert patches.grad is not None
        assert torch.isfinite(patches.grad).all(), f"gradient at scale {scale}, seed {seed}"
