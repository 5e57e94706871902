"""Zero-shot scores: against loops, in closed form, and what must not change them."""

import math

import pytest
import torch
from torch import Tensor

from flvlp.data.prompts import REDUCTIONS, SCHEMES
from flvlp.zeroshot import PromptFeatures, class_scores, exclusive_scores

SEEDS = range(10)
ALL = [(scheme, reduce) for scheme in SCHEMES for reduce in REDUCTIONS]


def drawn(seed: int) -> tuple[Tensor, list[PromptFeatures]]:
    """Returns images (N, D) and prompts of C classes with different numbers of prompts."""
    generator = torch.Generator().manual_seed(seed)
    width = 2 + seed % 6
    images = 3 * torch.randn(1 + seed % 7, width, generator=generator)
    prompts = [
        PromptFeatures(
            torch.randn(1 + (seed + position) % 4, width, generator=generator),
            torch.randn(1 + (seed + 2 * position) % 3, width, generator=generator),
        )
        for position in range(1 + seed % 5)
    ]
    return images, prompts


def unit(vector: list[float]) -> list[float]:
    norm = math.sqrt(sum(value * value for value in vector))
    return [value / norm for value in vector]


def cosine(image: list[float], texts: list[list[float]], reduce: str) -> float:
    """Computes one cosine from the definition, in float64."""
    image, texts = unit(image), [unit(text) for text in texts]
    if reduce == "mean":
        texts = [unit([sum(column) / len(texts) for column in zip(*texts, strict=True)])]
    return max(sum(a * b for a, b in zip(image, text, strict=True)) for text in texts)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("scheme", "reduce"), ALL)
def test_a_score_is_that_of_the_definition(scheme: str, reduce: str, seed: int) -> None:
    images, prompts = drawn(seed)
    scores = class_scores(images, prompts, scheme, reduce=reduce)
    assert scores.shape == (len(images), len(prompts))
    for row, image in enumerate(images.tolist()):
        for column, one in enumerate(prompts):
            positive, negative = (cosine(image, side.tolist(), reduce) for side in (one.positive, one.negative))
            wanted = {"difference": positive - negative, "positive_only": positive}[scheme]
            assert float(scores[row, column]) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_exclusive_scores_are_the_softmax_of_the_positive_cosines(reduce: str, seed: int) -> None:
    images, prompts = drawn(seed)
    scores = exclusive_scores(images, prompts, reduce=reduce, temperature=0.2)
    for row, image in enumerate(images.tolist()):
        powers = [math.exp(cosine(image, one.positive.tolist(), reduce) / 0.2) for one in prompts]
        wanted = [power / sum(powers) for power in powers]
        assert scores[row].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        assert int(scores[row].argmax()) == wanted.index(max(wanted))


def test_an_image_on_the_positive_and_opposite_to_the_negative_scores_the_most() -> None:
    image = torch.tensor([[0.0, 5.0]])
    prompts = [PromptFeatures(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -2.0]]))]
    found = {scheme: float(class_scores(image, prompts, scheme, reduce="mean")) for scheme in SCHEMES}
    assert found == pytest.approx({"difference": 2, "positive_only": 1})


def test_the_mean_is_of_directions_and_the_max_of_the_nearest_prompt() -> None:
    image = torch.tensor([[1.0, 0.0]])
    prompts = [PromptFeatures(torch.tensor([[10.0, 0.0], [0.0, 1.0]]), torch.zeros(0, 2))]
    assert float(class_scores(image, prompts, "positive_only", reduce="mean")) == pytest.approx(math.sqrt(0.5))
    assert float(class_scores(image, prompts, "positive_only", reduce="max")) == pytest.approx(1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("scheme", "reduce"), ALL)
def test_order_number_of_other_images_and_scale_change_no_score(scheme: str, reduce: str, seed: int) -> None:
    images, prompts = drawn(seed)
    scores = class_scores(images, prompts, scheme, reduce=reduce)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(class_scores(images[order], prompts, scheme, reduce=reduce), scores[order])
    torch.testing.assert_close(class_scores(images[:1], prompts, scheme, reduce=reduce), scores[:1])
    turned = [PromptFeatures(7 * one.positive.flip(0), one.negative.flip(0) / 9) for one in prompts[::-1]]
    torch.testing.assert_close(class_scores(1e4 * images, turned, scheme, reduce=reduce), scores.flip(1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_standardising_is_off_by_default_and_gives_each_class_mean_0_and_deviation_1(scheme: str) -> None:
    images, prompts = drawn(6)
    plain = class_scores(images, prompts, scheme, reduce="mean")
    scores = class_scores(images, prompts, scheme, reduce="mean", standardise=True)
    torch.testing.assert_close(scores.mean(dim=0), torch.zeros(len(prompts)), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.std(dim=0, unbiased=False), torch.ones(len(prompts)))
    assert torch.equal(scores.argsort(dim=0), plain.argsort(dim=0))
    alone = class_scores(images[:1], prompts, scheme, reduce="mean", standardise=True)
    assert torch.equal(alone, torch.zeros(1, len(prompts))), "a single image has no spread"


def test_standardising_takes_from_a_class_that_is_near_to_every_image_its_advantage() -> None:
    images = torch.tensor([[1.0, 0.0, 3.0], [0.0, 1.0, 3.0], [0.5, 0.5, 3.0]])
    prompts = [PromptFeatures(torch.tensor([row]), torch.zeros(0, 3)) for row in ([0.1, 0, 1.0], [0, 1.0, 0.5])]
    plain = exclusive_scores(images, prompts, reduce="mean").argmax(dim=1)
    standardised = exclusive_scores(images, prompts, reduce="mean", standardise=True).argmax(dim=1)
    assert plain.tolist() == [0, 0, 0]
    assert standardised[:2].tolist() == [0, 1]


@pytest.mark.parametrize(("scheme", "reduce"), ALL)
def test_scores_are_float32_whatever_the_features_and_autocast(scheme: str, reduce: str) -> None:
    images, prompts = drawn(6)
    half = [PromptFeatures(one.positive.bfloat16(), one.negative.bfloat16()) for one in prompts]
    plain = class_scores(images, prompts, scheme, reduce=reduce)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(class_scores(images, prompts, scheme, reduce=reduce), plain)
        assert exclusive_scores(images, prompts, reduce=reduce).dtype == torch.float32
    rounded = class_scores(images.bfloat16(), half, scheme, reduce=reduce)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, plain, atol=0.1, rtol=0)


def test_only_positive_only_does_without_negative_prompts() -> None:
    images, prompts = drawn(6)
    prompts[1] = PromptFeatures(prompts[1].positive, prompts[1].negative[:0])
    assert class_scores(images, prompts, "positive_only", reduce="mean").isfinite().all()
    assert exclusive_scores(images, prompts, reduce="mean").isfinite().all()
    with pytest.raises(ValueError, match=r"no negative prompt .* positions \[1\].*positive_only"):
        class_scores(images, prompts, "difference", reduce="mean")


def test_a_wrong_choice_lists_the_right_ones() -> None:
    images, prompts = drawn(6)
    with pytest.raises(ValueError, match="'ratio'; choose one of: " + ", ".join(SCHEMES)):
        class_scores(images, prompts, "ratio", reduce="mean")
    with pytest.raises(ValueError, match="'median'; choose one of: " + ", ".join(REDUCTIONS)):
        exclusive_scores(images, prompts, reduce="median")
