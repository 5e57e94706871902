"""Masked language modelling of reports alone, and the weights it leaves."""

from dataclasses import replace
from pathlib import Path

import torch

from flvlp.models.masked_reports import MaskedReportModel
from flvlp.models.text_encoder import TextEncoder
from tests.asked import Asked
from tests.builders import FIRST_PIECE, MASK, VOCABULARY, WIDTH, make_tokenizer, text_config

TOKENS = torch.tensor([[2, 7, MASK, 9, 3], [2, MASK, 8, 3, 0]])
IS_TOKEN = TOKENS != 0
POSITIONS = torch.tensor([2, 6])


def model() -> MaskedReportModel:
    torch.manual_seed(0)
    return MaskedReportModel(TextEncoder(text_config(), WIDTH)).eval()


def test_logits_are_those_of_the_masked_pieces_with_the_embedding_as_last_layer() -> None:
    made = model()
    logits = made(TOKENS, IS_TOKEN, POSITIONS)
    hidden = made.trunk(input_ids=TOKENS, attention_mask=IS_TOKEN.long()).last_hidden_state
    picked = torch.stack([hidden[0, 2], hidden[1, 1]])
    expected = made.transform(picked) @ made.trunk.embeddings.word_embeddings.weight.T + made.bias
    assert logits.shape == (2, VOCABULARY)
    assert torch.allclose(logits, expected, atol=1e-6)


def test_padding_changes_nothing() -> None:
    made = model()
    padded, wider = made(TOKENS, IS_TOKEN, POSITIONS), torch.nn.functional.pad(TOKENS, (0, 3))
    again = made(wider, wider != 0, torch.tensor([2, 9]))
    assert torch.allclose(padded, again, atol=1e-5)


def test_every_parameter_that_is_used_is_trained_once() -> None:
    made = model()
    made(TOKENS, IS_TOKEN, POSITIONS).sum().backward()
    trained = [id(parameter) for group in made.param_groups(1.0) for parameter in group.parameters]
    assert len(trained) == len(set(trained)) == len(list(made.parameters()))
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_the_text_encoder_starts_from_what_was_written(tmp_path: Path) -> None:
    made = model()
    made.save(tmp_path)
    make_tokenizer().save(tmp_path)
    loaded = TextEncoder(replace(text_config(), weights=str(tmp_path)), WIDTH)
    own = made.trunk.state_dict()
    assert set(own) == set(loaded.trunk.state_dict())
    for name, value in loaded.trunk.state_dict().items():
        assert torch.equal(value, own[name]), name
    assert loaded.vocab_size == VOCABULARY > FIRST_PIECE


def test_it_does_not_wait_for_its_device() -> None:
    made = model()
    with Asked() as asked:
        made(TOKENS, IS_TOKEN, POSITIONS)
    assert not asked.found, asked.found
