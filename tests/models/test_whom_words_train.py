"""What the terms of single words train, and what a forward pass keeps."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flvlp.losses.config import LossConfig
from flvlp.losses.total import LossSum
from tests.builders import ALL_TERMS, counts_of, heads_config, make_batch, make_model

BATCH = make_batch([True, False, True, True, False], is_valid=[True, True, True, True, False])


def kept_bytes(model: Any) -> int:
    """Returns what a forward pass keeps for the backward pass besides the parameters."""
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, dict[int, int]()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = model(BATCH)
    assert held.frontal.requires_grad, "its graph holds the storages"
    return sum(kept.values())


def test_activation_checkpointing_gives_the_same_gradient_and_keeps_less() -> None:
    gradients, kept = [], []
    for is_checkpointed in (False, True):
        model = make_model().train()
        if is_checkpointed:
            model.encoders.checkpoint_activations()
        kept.append(kept_bytes(model))
        LossSum(LossConfig(), ALL_TERMS)(model(BATCH), counts_of(BATCH))["total"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-7)
    assert kept[1] < 0.9 * kept[0], f"kept {kept[1]:,} bytes with checkpointing, {kept[0]:,} without"


def text_gradient(terms: frozenset[str], *, words_train_text: bool) -> tuple[dict[str, float], Tensor]:
    """Returns these losses of the whole model, and the gradient of their sum on the text encoder."""
    model = make_model(heads=heads_config(words_train_text=words_train_text)).train()
    losses = LossSum(LossConfig(), terms)(model(BATCH), counts_of(BATCH))
    losses["total"].backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.encoders.text.parameters()]
    return {name: float(value) for name, value in losses.items()}, torch.cat([part.flatten() for part in parts])


def test_words_that_do_not_train_the_text_leave_it_to_contrast_and_prototypes() -> None:
    losses, gradient = text_gradient(ALL_TERMS, words_train_text=False)
    as_published, usual = text_gradient(ALL_TERMS, words_train_text=True)
    assert losses == pytest.approx(as_published, rel=1e-5), "what is computed is the same, whom it trains is not"
    _, of_others = text_gradient(frozenset({"itc", "prototype"}), words_train_text=True)
    torch.testing.assert_close(gradient, of_others, rtol=1e-4, atol=1e-6)
    assert float((usual - gradient).norm()) > 0.01 * float(usual.norm())


def test_a_pass_without_graph_leaves_the_next_one_its_weights_under_autocast() -> None:
    model = make_model(heads=heads_config(words_train_text=False)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(BATCH)
    LossSum(LossConfig(), ALL_TERMS)(output, counts_of(BATCH))["total"].backward()
    untrained = [name for name, p in model.encoders.text.named_parameters() if p.requires_grad and p.grad is None]
    assert not untrained, f"{untrained}: autocast may keep weights that were cast without a graph"


def test_words_still_train_the_images() -> None:
    model = make_model(terms=frozenset({"itc", "mlm"}), heads=heads_config(words_train_text=False)).train()
    output = model(BATCH)
    LossSum(LossConfig(), frozenset({"itc", "mlm"}))(output, counts_of(BATCH))["mlm"].backward()
    assert all(p.grad is None for p in model.encoders.text.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoders.frontal.parameters())


def test_a_text_encoder_that_nothing_would_train_is_refused() -> None:
    with pytest.raises(ValueError, match="with the terms mlm, view_alignment alone; leave it true, or let itc"):
        make_model(terms=frozenset({"mlm", "view_alignment"}), heads=heads_config(words_train_text=False))
