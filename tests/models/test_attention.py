"""Attention blocks: against loops, masks, and the cross-attention without residual of docs/paper.md section 3."""

import math

import pytest
import torch
from torch import Tensor, nn

from flvlp.models.attention import Attention, SelfAttentionBlock, WordDecoder

WIDTH, HEAD = 8, 4


def draw(seed: int = 0, size: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns words (B, 5, D), is_token, memory (B, 7, D), is_memory; at least one of each is there."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(size, 5, WIDTH, generator=generator)
    memory = torch.randn(size, 7, WIDTH, generator=generator)
    is_token = torch.arange(5) < torch.randint(1, 6, (size, 1), generator=generator)
    is_memory = torch.rand(size, 7, generator=generator) < 0.5
    is_memory[:, seed % 7] = True
    return words, is_token, memory, is_memory


def attend_by_loops(layer: Attention, words: Tensor, memory: Tensor, is_memory: Tensor) -> Tensor:
    """Multi-head attention of one study, word by word and head by head."""
    key_weight, value_weight = layer.key_value.weight.chunk(2)
    key_bias, value_bias = layer.key_value.bias.chunk(2)
    rows = []
    for word in words:
        query, heads = layer.query.weight @ word + layer.query.bias, []
        for start in range(0, WIDTH, HEAD):
            head = slice(start, start + HEAD)
            looked_at = [m for m in range(len(memory)) if is_memory[m]]
            keys = [(key_weight @ memory[m] + key_bias)[head] for m in looked_at]
            values = [(value_weight @ memory[m] + value_bias)[head] for m in looked_at]
            weights = torch.softmax(torch.stack([query[head] @ key for key in keys]) / math.sqrt(HEAD), dim=0)
            heads.append(sum((w * v for w, v in zip(weights, values, strict=True)), start=torch.zeros(HEAD)))
        rows.append(layer.out.weight @ torch.cat(heads) + layer.out.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("seed", range(7))
@torch.no_grad()
def test_attention_is_that_of_plain_loops(seed: int) -> None:
    torch.manual_seed(seed)
    layer = Attention(WIDTH, HEAD)
    words, _, memory, is_memory = draw(seed, seed + 1)
    found = layer(words, memory, is_memory)
    for row in range(len(words)):
        expected = attend_by_loops(layer, words[row], memory[row], is_memory[row])
        difference = float((found[row] - expected).abs().max())
        assert difference < 1e-5, f"{found[row]}, loops {expected}, largest difference {difference}"


@pytest.mark.parametrize("seed", range(7))
@torch.no_grad()
def test_the_decoder_is_cross_attention_without_residual_then_pre_norm_blocks(seed: int) -> None:
    torch.manual_seed(seed)
    decoder = WordDecoder(WIDTH, HEAD, 2)
    for norm in decoder.modules():
        if isinstance(norm, nn.LayerNorm):
            nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    words, is_token, memory, is_memory = draw(seed)
    found = decoder(words, is_token, memory, is_memory)
    for row in range(len(words)):
        one_word, one_memory = decoder.query_norm(words[row]), decoder.memory_norm(memory[row])
        expected = attend_by_loops(decoder.cross_attention, one_word, one_memory, is_memory[row])
        for block in decoder.blocks:
            assert isinstance(block, SelfAttentionBlock)
            normed = block.attention_norm(expected)
            expected = expected + attend_by_loops(block.attention, normed, normed, is_token[row])
            expected = expected + block.mlp(block.mlp_norm(expected))
        expected = decoder.norm(expected)
        difference = float((found[row] - expected).abs().max())
        assert difference < 1e-4, f"{found[row]}, loops {expected}, largest difference {difference}"


def test_without_a_residual_an_image_of_equal_patches_silences_the_words() -> None:
    decoder = WordDecoder(WIDTH, HEAD, 2)
    words, _, _, _ = draw()
    same = torch.ones(3, 7, WIDTH) * torch.arange(WIDTH)
    everything = torch.ones(3, 7, dtype=torch.bool)
    decoded = decoder(words, torch.ones(3, 5, dtype=torch.bool), same, everything)
    spread = float((decoded - decoded[:, :1]).detach().abs().max())
    assert spread < 1e-5, f"words differ by {spread} although the image says the same to each, expected 0"


@pytest.mark.parametrize("seed", range(7))
def test_padding_words_and_hidden_memory_change_nothing_and_get_no_gradient(seed: int) -> None:
    decoder = WordDecoder(WIDTH, HEAD, 2)
    words, is_token, memory, is_memory = draw(seed)
    before = decoder(words, is_token, memory, is_memory)[is_token]
    words = words.masked_fill(~is_token[..., None], 1e4).requires_grad_()
    memory = memory.masked_fill(~is_memory[..., None], -1e4).requires_grad_()
    after = decoder(words, is_token, memory, is_memory)[is_token]
    after.square().sum().backward()
    difference = float((before - after).detach().abs().max())
    assert difference < 1e-5, f"largest difference {difference}, expected 0"
    assert words.grad is not None
    assert memory.grad is not None
    leaked = float(words.grad[~is_token].abs().sum() + memory.grad[~is_memory].abs().sum())
    assert leaked == 0, f"gradient {leaked} of padding, expected 0"


def test_studies_do_not_see_each_other() -> None:
    decoder = WordDecoder(WIDTH, HEAD, 1)
    parts = draw(1, 4)
    together = decoder(*parts)
    for row in range(4):
        alone = decoder(*(part[row : row + 1] for part in parts))[0]
        difference = float((together[row] - alone).abs().max())
        assert difference < 1e-5, f"study {row} differs by {difference} alone and in a batch"


def test_an_empty_batch_gives_every_parameter_a_gradient() -> None:
    decoder = WordDecoder(WIDTH, HEAD, 1)
    decoder(*(part[:0] for part in draw())).sum().backward()
    missing = [name for name, parameter in decoder.named_parameters() if parameter.grad is None]
    assert not missing, f"no gradient: {missing}"


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no multiple of heads\.head_width 64"):
        Attention(100, 64)


@pytest.mark.parametrize("seed", range(7))
@torch.no_grad()
def test_weights_times_values_are_what_the_forward_pass_mixes(seed: int) -> None:
    torch.manual_seed(seed)
    layer = Attention(WIDTH, HEAD)
    words, _, memory, is_memory = draw(seed)
    weights = layer.weights(words, memory, is_memory)
    assert weights.shape == (3, WIDTH // HEAD, 5, 7)
    values = layer.key_value(memory)[..., WIDTH:].unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    mixed = layer.out((weights @ values).transpose(1, 2).flatten(2))
    difference = float((mixed - layer(words, memory, is_memory)).abs().max())
    assert difference < 1e-5, f"the mixture by these weights differs by {difference}"
    hidden = float(weights.masked_fill(is_memory[:, None, None], 0).max())
    assert hidden == 0, f"weight {hidden} where nobody may look"
