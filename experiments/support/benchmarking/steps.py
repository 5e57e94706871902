"""Training steps as contenders: that of `pretrain.py`, and the plain one on the same weights and studies."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flvlp.engine.config import EngineConfig
from flvlp.losses.config import LossConfig
from flvlp.models.config import NONE, EncoderConfig, HeadsConfig

if TYPE_CHECKING:
    import torch

    from flvlp.engine.train import Training
    from flvlp.models.flvlp import FLVLP
    from flvlp.types import Batch

SHORTEST, LONGEST = 40, 100  # word pieces of a report, with [CLS] and [SEP]; shares of a limit of 128
MASKED_SHARE = 0.7  # about what semantic-aware masking takes


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        encoder: bundle; its weights are drawn, nothing is fetched.
        heads, loss: of the method.
        batch_size: studies, each with a lateral.
        seed: of weights, pictures and reports.
    """

    encoder: EncoderConfig
    heads: HeadsConfig
    loss: LossConfig
    batch_size: int
    seed: int = 0

    def sized(self, batch_size: int) -> "Workload":
        """Returns the same with another batch."""
        return replace(self, batch_size=batch_size)


def drawn(encoder: EncoderConfig) -> EncoderConfig:
    """Returns a bundle that fetches nothing and draws nothing while it trains.

    Dropout is off, so that the losses can be compared; which trunks are frozen is settled by `make_model`.

    Raises:
        ValueError: a bundle without a lateral encoder of its own.
    """
    if encoder.lateral.backbone == NONE:
        raise ValueError("benchmark: encoder/lateral=none; the step is timed with both views, take another lateral")
    return replace(
        encoder,
        frontal=replace(encoder.frontal, weights="random", frozen=False),
        lateral=replace(encoder.lateral, weights="random", frozen=False),
        text=replace(encoder.text, weights="random", frozen=False, dropout=0.0),
    )


def make_model(workload: Workload) -> "FLVLP":
    """Returns the model on the device of this process, its queue full as in the middle of a training.

    A lateral trunk that would come pre-trained is frozen.
    """
    import torch

    from flvlp import distributed
    from flvlp.models.flvlp import FLVLP

    torch.manual_seed(workload.seed)
    terms, text = workload.loss.active(), workload.encoder.text
    model = FLVLP(drawn(workload.encoder), workload.heads, terms, text.vocab_size)
    for encoder, config in (
        (model.encoders.frontal, workload.encoder.frontal),
        (model.encoders.lateral, workload.encoder.lateral),
        (model.encoders.text, text),
    ):
        if encoder is not None and config.is_frozen:
            encoder.freeze()
    if model.queue is not None:
        size, width = model.queue.features.shape[1:]
        earlier = torch.nn.functional.normalize(torch.randn(3, size, width), dim=-1)
        model.queue.push(earlier, torch.ones(3, size, dtype=torch.bool))
    return model.train().to(distributed.start())


def make_batch(workload: Workload, *, is_padded: bool, rank: int = 0, ranks: int = 1) -> "Batch":
    """Returns made-up studies on the host; the same ones whether padded to the limit or trimmed to the longest.

    Args:
        workload: what is trained.
        is_padded: to the limit, and not trimmed.
        rank, ranks: the rows of one rank, of the studies that all of them have together.
    """
    import torch

    from flvlp.types import Batch

    size, crop, limit = ranks * workload.batch_size, workload.encoder.crop, workload.encoder.text.max_tokens
    generator = torch.Generator().manual_seed(workload.seed)
    shortest, longest = (max(4, count * limit // 128) for count in (SHORTEST, LONGEST))
    lengths = torch.randint(shortest, longest + 1, (size,), generator=generator)
    place = torch.arange(limit)
    tokens = torch.randint(5, workload.encoder.text.vocab_size, (size, limit), generator=generator)
    is_token = place < lengths[:, None]
    is_word = is_token & (place > 0) & (place < lengths[:, None] - 1)
    is_masked = is_word & (torch.rand(size, limit, generator=generator) < MASKED_SHARE)
    is_masked[:, 1] = True
    tokens = tokens.where(is_token, 0)
    pixels = torch.randint(0, 256, (2, size, 1, crop, crop), dtype=torch.uint8, generator=generator)
    own = torch.arange(size).tensor_split(ranks)[rank]
    width, size = limit if is_padded else int(lengths[own].max()), len(own)
    tokens, is_token, is_word, is_masked = (one[own, :width] for one in (tokens, is_token, is_word, is_masked))
    positions = is_masked.flatten().nonzero().flatten()
    return Batch(
        frontal=pixels[0, own],
        lateral=pixels[1, own],
        lateral_rows=torch.arange(size),
        has_lateral=torch.ones(size, dtype=torch.bool),
        is_valid=torch.ones(size, dtype=torch.bool),
        study_index=own,
        tokens=tokens.contiguous(),
        masked_tokens=tokens.masked_fill(is_masked, 4).contiguous(),
        is_token=is_token.contiguous(),
        is_word=is_word.contiguous(),
        masked_positions=positions,
        masked_targets=tokens.flatten()[positions],
        report_key=own,
    )


def make_training(workload: Workload, precision: str, *, keeps: Path | None = None) -> "Training":
    """Returns the training that `pretrain.py` would set up, writing into a folder that nobody looks at."""
    from flvlp.engine.setup import set_up_training
    from flvlp.losses.total import LossSum

    recipe = workload.encoder.recipe
    if keeps is None:
        keeps = Path(tempfile.mkdtemp(prefix="flvlp-benchmark-"))
        atexit.register(shutil.rmtree, keeps, ignore_errors=True)
    config = EngineConfig(
        lr=recipe.lr, new_lr_scale=recipe.new_lr_scale, precision=precision, epochs=1, warmup_epochs=0
    )
    model = make_model(workload)
    return set_up_training(
        model,
        LossSum(workload.loss, model.terms),
        config,
        seed=workload.seed,
        folder=keeps,
        is_resumed=False,
        steps_per_epoch=1000,
        studies_per_step=workload.batch_size,
        name_study=str,
    )


def our_step(workload: Workload, precision: str) -> Callable[[], Any]:
    """Makes the step that `pretrain.py` takes, of several ranks each on its own studies; returns the loss of each."""
    from flvlp import distributed
    from flvlp.engine.train import train_step

    training = make_training(workload, precision)
    batch = make_batch(workload, is_padded=False, rank=distributed.rank(), ranks=distributed.world_size())

    def run() -> float:
        terms, _ = train_step(training, [batch])
        return float(terms["total"])

    return run


def plain_step(workload: Workload) -> Callable[[], Any]:
    """Makes the plain step in float32; returns the loss of each."""
    from support.benchmarking.plain import PlainStep

    model = make_model(workload)
    batch = make_batch(workload, is_padded=True).to(next(model.parameters()).device)
    step = PlainStep(model, workload.loss, workload.encoder.recipe.lr, 0.05, 1.0)
    return lambda: step(batch)


def compare_losses(workload: Workload, precision: str) -> dict[str, dict[str, float]]:
    """Computes losses and gradients both ways on the same weights and studies.

    Returns:
        for each term and `total`: `plain`, `ours`, and `difference` relative to the plain one; for `gradient` the
        norms, and the norm of their difference relative to the plain one.
    """
    import torch

    from flvlp.engine.optim import autocast_dtype, choose_attention
    from flvlp.engine.train import count_step
    from flvlp.losses.total import LossSum
    from support.benchmarking.plain import PlainStep

    model = make_model(workload)
    device = next(model.parameters()).device
    dtype = autocast_dtype(precision, device)
    choose_attention(dtype, device)  # as the step that is timed
    trimmed, padded = (make_batch(workload, is_padded=is_padded) for is_padded in (False, True))
    queue = None if model.queue is None else {key: value.clone() for key, value in model.queue.state_dict().items()}

    def gradient() -> "torch.Tensor":
        found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        model.zero_grad(set_to_none=True)
        return found

    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        output = model(trimmed.to(device))
    ours = LossSum(workload.loss, model.terms)(output, count_step([trimmed], device, float("inf")))
    ours["total"].backward()
    our_gradient = gradient()
    if model.queue is not None and queue is not None:
        model.queue.load_state_dict(queue)
    choose_attention(None, device)
    plain = PlainStep(model, workload.loss, 1.0, 0.0, 1.0).losses(padded.to(device))
    plain["total"].backward()
    plain_gradient = gradient()
    compared = {
        name: {
            "plain": plain[name].item(),
            "ours": ours[name].item(),
            "difference": abs(ours[name].item() - plain[name].item()) / abs(plain[name].item()),
        }
        for name in plain
    }
    norms = plain_gradient.norm().item(), our_gradient.norm().item()
    distance = (our_gradient - plain_gradient).norm().item() / norms[0]
    return compared | {"gradient": {"plain": norms[0], "ours": norms[1], "difference": distance}}
