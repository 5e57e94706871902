"""The plain reference of the benchmark computes what the model and its losses compute."""

from dataclasses import replace

import pytest
import torch

from flvlp.losses.config import LossConfig, PrototypeConfig, ViewAlignmentConfig
from flvlp.models.config import RecipeConfig
from support.benchmarking.matmuls import Recorder
from support.benchmarking.plain import PlainStep
from support.benchmarking.steps import Workload, compare_losses, drawn, make_batch, make_model, our_step, plain_step
from tests.builders import encoder_config, heads_config, image_config, text_config

SIZE = 5
ENCODER = replace(encoder_config(text=text_config(max_tokens=32)), recipe=RecipeConfig(lr=1e-3, new_lr_scale=1.0))


def workload(negatives: str = "laterals", queue: int = 12, *, bidirectional: bool = True) -> Workload:
    """Returns small encoders with all four terms, each with a weight of its own."""
    loss = LossConfig(
        view_alignment=ViewAlignmentConfig(weight=0.7, negatives=negatives),
        prototype=PrototypeConfig(weight=0.3, bidirectional=bidirectional),
    )
    heads = heads_config(queue=queue, lateral_negatives=2 if negatives == "laterals" else 0)
    return Workload(ENCODER, heads, loss, SIZE)


@pytest.mark.parametrize(
    "made",
    [workload(), workload("words"), workload(queue=0), workload(bidirectional=False)],
    ids=["as configured", "negatives of words", "no queue", "one direction"],
)
def test_losses_and_gradients_are_equal_in_float32(made: Workload) -> None:
    compared = compare_losses(made, "fp32")
    assert set(compared) == {"itc", "mlm", "view_alignment", "prototype", "total", "gradient"}
    assert all(one["plain"] > 0.01 for one in compared.values()), f"{compared}: a term that is nothing shows nothing"
    for name, one in compared.items():
        bound = 1e-4 if name == "gradient" else 1e-5
        assert one["difference"] < bound, f"{name}: plain {one['plain']}, ours {one['ours']}, {one['difference']:.2e}"


def test_in_bfloat16_they_agree_within_its_rounding() -> None:
    compared = compare_losses(workload(), "bf16")
    assert 1e-7 < max(one["difference"] for name, one in compared.items() if name != "gradient") < 2e-2, compared


def test_padding_changes_nothing_for_the_plain_step() -> None:
    made = workload(queue=0)
    model = make_model(made)
    step = PlainStep(model, made.loss, 1e-3, 0.0, 1.0)
    trimmed, padded = (step.losses(make_batch(made, is_padded=is_padded)) for is_padded in (False, True))
    for name, value in padded.items():
        assert float(value.detach()) == pytest.approx(float(trimmed[name].detach()), rel=1e-5), name


def test_studies_are_the_same_ones_padded_or_trimmed() -> None:
    trimmed, padded = (make_batch(workload(), is_padded=is_padded) for is_padded in (False, True))
    assert padded.tokens.shape[1] == 32 > trimmed.tokens.shape[1]
    assert torch.equal(padded.tokens[:, : trimmed.tokens.shape[1]], trimmed.tokens)
    assert torch.equal(padded.masked_targets, trimmed.masked_targets)
    for batch in (trimmed, padded):
        assert torch.equal(batch.tokens.flatten()[batch.masked_positions], batch.masked_targets)


def test_ranks_share_the_studies_of_the_batch_and_each_trims_its_own() -> None:
    whole, half = make_batch(workload().sized(4), is_padded=False), workload().sized(2)
    parts = [make_batch(half, is_padded=False, rank=rank, ranks=2) for rank in range(2)]
    for name in ("frontal", "lateral", "study_index", "report_key"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
    lengths = [int(part.is_token.sum(dim=1).max()) for part in parts]
    assert [part.tokens.shape[1] for part in parts] == lengths and max(lengths) == whole.tokens.shape[1]
    assert [part.is_token.sum() for part in parts] == [whole.is_token[:2].sum(), whole.is_token[2:].sum()]
    for part in parts:
        assert torch.equal(part.tokens.flatten()[part.masked_positions], part.masked_targets)


@pytest.mark.usefixtures("_attention_as_it_was")
@pytest.mark.parametrize("is_fused", [True, False])
def test_attention_is_counted_by_either_kernel(is_fused: bool) -> None:
    query, key, value = (torch.ones(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    torch.backends.cuda.enable_flash_sdp(is_fused)
    with Recorder() as recorder:
        torch.nn.functional.scaled_dot_product_attention(query, key, value).sum().backward()
    product = 2 * 2 * 3 * 5 * 5 * 4
    assert recorder.flop == product * (7 if is_fused else 6), "the fused kernel computes its scores again"
    assert bool(recorder.products) != is_fused


def test_both_steps_lower_their_loss() -> None:
    made = workload(queue=0)
    for make in (lambda: our_step(made, "fp32"), lambda: plain_step(made)):
        step = make()
        losses = [step() for _ in range(12)]
        assert losses[-1] < 0.9 * losses[0], f"losses {losses}"


def test_a_lateral_trunk_that_comes_pre_trained_is_frozen_and_nothing_is_fetched() -> None:
    encoder = replace(ENCODER, lateral=image_config(weights="pretrained", frozen=None, adapter="mlp"))
    model = make_model(replace(workload(), encoder=encoder))
    assert model.encoders.lateral is not None
    assert not any(parameter.requires_grad for parameter in model.encoders.lateral.trunk.parameters())
    assert all(parameter.requires_grad for parameter in model.encoders.lateral.adapter.parameters())
    assert drawn(encoder).lateral.weights == "random"


def test_a_bundle_without_laterals_is_refused() -> None:
    with pytest.raises(ValueError, match="encoder/lateral=none"):
        drawn(replace(ENCODER, lateral=replace(ENCODER.lateral, backbone="none")))


def test_products_are_counted_forward_and_backward() -> None:
    first = torch.ones(6, 4, requires_grad=True)
    second = torch.ones(4, 3, requires_grad=True)
    with Recorder() as recorder:
        for _ in range(2):
            (first @ second).sum().backward()
    calls = sum(product.calls for product in recorder.products.values())
    assert calls == 2 * 3, f"{recorder.products}: a product and its two gradients, twice"
    assert recorder.flop == 2 * 3 * 2 * 6 * 4 * 3, f"{recorder.flop} floating-point operations"
    seconds, flop = recorder.replay(torch.device("cpu"), repeats=1)
    assert flop == recorder.flop
    assert 0 < seconds < 1
