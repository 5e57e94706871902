"""Builds the pre-training model with the active terms only."""

import dataclasses
import logging
from typing import TYPE_CHECKING

from flvlp.engine.config import EngineConfig
from flvlp.losses.config import LossConfig
from flvlp.models.config import NONE, EncoderConfig, HeadsConfig

if TYPE_CHECKING:
    from flvlp.models.flvlp import FLVLP

log = logging.getLogger(__name__)


def build_model(
    encoder: EncoderConfig,
    heads: HeadsConfig,
    loss: LossConfig,
    engine: EngineConfig,
    *,
    vocab_size: int,
    init_from: str | None,
) -> "FLVLP":
    """Returns the model with the active terms only.

    Args:
        encoder, heads, loss, engine: of the run.
        vocab_size: of the tokenizer.
        init_from: folder of saved encoders whose weights it starts from; None for a fresh start.

    Raises:
        ValueError: no term is left to train, or the saved encoders are others.
    """
    from flvlp.models.flvlp import FLVLP

    terms = loss.active()
    if encoder.lateral.backbone == NONE and "view_alignment" in terms:
        log.warning("encoder/lateral=none: the term view_alignment has nothing to align and is not run")
        terms -= {"view_alignment"}
    if not terms:
        raise ValueError("loss: no term is left to train; give one a weight, such as loss.itc.weight=1")
    if "prototype" in terms and loss.prototype.start_epoch >= engine.epochs:
        log.warning("loss.prototype.start_epoch=%g: the term never counts in this run", loss.prototype.start_epoch)
    if loss.view_alignment.negatives == "words":
        heads = dataclasses.replace(heads, lateral_negatives=0)
    log.info("terms: %s", ", ".join(sorted(terms)))
    if init_from is not None:
        from flvlp.saved_encoders import load_encoders

        start = load_encoders(init_from).encoders
        model = FLVLP(encoder, heads, terms, vocab_size, start.text.architecture)
        try:
            model.encoders.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"init_from: the encoders in {init_from} are not those of this configuration; set encoder=... as "
                f"in {init_from}/config.json ({str(error).splitlines()[1].strip()[:200]})"
            ) from error
    else:
        model = FLVLP(encoder, heads, terms, vocab_size)
    if engine.activation_checkpointing:
        model.encoders.checkpoint_activations()
    if engine.compile:
        model.compile(dynamic=True)
    return model
