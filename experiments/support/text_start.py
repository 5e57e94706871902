"""A text encoder that starts from the training reports alone (`encoder.text.weights=reports`), made once and kept."""

import hashlib
import json
import logging
import os
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from flvlp.models.config import REPORTS, TextEncoderConfig
from support.chain import OF_WORKERS

if TYPE_CHECKING:
    from flvlp.data.studies import StudySource

log = logging.getLogger(__name__)

FORMAT = 1  # of what is kept; a change of how it is made takes the next number
SEED = 0  # one start for all seeds of a comparison, as a downloaded BERT would be
HELD_OUT = 20  # every so many-th report is judged on
NO_PART = ("name", "package", "weights", "frozen", "pool")  # settings that what is made does not depend on
NEEDED = 4  # bytes of a weight


def with_text_start(
    text: TextEncoderConfig, source: "StudySource", limit: int | None, credentialed: bool
) -> TextEncoderConfig:
    """Returns a configuration whose weights can be loaded: with `weights=reports`, of the folder that was made.

    Of several ranks, and of jobs side by side, one makes it and the others wait.

    Args:
        text: of the encoder.
        source: whose training reports are learned from.
        limit: the first n training studies only; None for all.
        credentialed: see `flvlp.data.tokenizer.train_tokenizer`.

    Raises:
        RuntimeError: making it broke.
    """
    if text.weights != REPORTS:
        return text
    from flvlp.data.phantom.making_once import make_once

    reports = [source.studies[index].report for index in source.splits["train"][:limit]]
    folder = Path(text.reports.root) / _key(text, reports, credentialed)
    if not folder.is_dir():
        needed = NEEDED * (text.vocab_size + 12 * text.layers * text.hidden_size) * text.hidden_size
        make_once(
            folder, needed, "the start of the text encoder", lambda place: _start(text, reports, credentialed, place)
        )
    log.info("text encoder: starts from reports alone (%s)", folder)
    return replace(text, weights=str(folder))


def _key(text: TextEncoderConfig, reports: list[str], credentialed: bool) -> str:
    """Returns what the weights depend on, as a name."""
    sizes = {name: value for name, value in asdict(text).items() if name not in NO_PART}
    settings = sizes | {"format": FORMAT, "credentialed": credentialed}
    del settings["reports"]["root"]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for report in reports:
        digest.update(hashlib.sha256(report.encode()).digest())
    return digest.hexdigest()[:16]


def _start(text: TextEncoderConfig, reports: list[str], credentialed: bool, place: Path) -> None:
    """Trains in a process of its own, which is no rank of any group and leaves this one's chance alone."""
    log.info("pre-training the text encoder on %d reports alone (once; it is kept)", len(reports))
    process = get_context("spawn").Process(target=_train_alone, args=(text, reports, credentialed, place))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"encoder.text.weights=reports: the pre-training broke (exit status {process.exitcode})")


def _train_alone(text: TextEncoderConfig, reports: list[str], credentialed: bool, place: Path) -> None:
    from flvlp.data.processes import end_with_parent
    from flvlp.engine.log import set_up_console

    end_with_parent()
    for name in [name for name in os.environ if name.startswith(OF_WORKERS)]:
        del os.environ[name]
    set_up_console()
    train_text(text, reports, credentialed, place)


def train_text(text: TextEncoderConfig, reports: list[str], credentialed: bool, place: Path) -> float:
    """Pre-trains a text encoder by masked language modelling and writes it in Hugging Face layout.

    Args:
        text: architecture, and how it is trained (`ReportsConfig`).
        reports: of the training part.
        credentialed: see `flvlp.data.tokenizer.train_tokenizer`.
        place: folder of config.json, model.safetensors and the tokenizer.

    Returns:
        the loss of held-out ones among these reports, in nats.
    """
    import numpy as np
    import torch

    from flvlp import distributed
    from flvlp.data.config import MaskingConfig
    from flvlp.data.report_batches import ReportBatch, ReportBatches
    from flvlp.data.sampler import EpochSampler, ShardSampler
    from flvlp.data.tokenizer import train_tokenizer
    from flvlp.engine.config import FitConfig
    from flvlp.engine.fit import Fit
    from flvlp.engine.log import RunLog
    from flvlp.engine.seed import seed_everything
    from flvlp.losses.mlm import mlm_loss
    from flvlp.models.masked_reports import MaskedReportModel
    from flvlp.models.text_encoder import TextEncoder

    device = distributed.start()
    seed_everything(SEED, deterministic=False)
    tokenizer = train_tokenizer(reports, text.vocab_size, text.max_tokens, credentialed)
    encoded = [tokenizer.encode(report) for report in reports]
    settings, everyone = text.reports, np.arange(len(reports))
    is_held_out = everyone % HELD_OUT == HELD_OUT - 1
    sampler = EpochSampler(
        everyone[~is_held_out], batch_size=settings.batch_size, accumulate=1, seed=SEED, fills_last=True
    )
    masking = MaskingConfig(kind="random", rate=settings.rate)
    common = {"batch_size": settings.batch_size, "seed": SEED}
    batches = ReportBatches(encoded, tokenizer, masking, sampler, **common)
    held_out = ReportBatches(encoded, tokenizer, masking, ShardSampler(everyone[is_held_out]), **common)
    random = replace(text, weights="random", frozen=False)
    model = MaskedReportModel(TextEncoder(random, text.hidden_size, len(tokenizer))).to(device)

    def criterion(module: torch.nn.Module, batch: ReportBatch) -> tuple[torch.Tensor, torch.Tensor]:
        logits = module(batch.masked_tokens, batch.is_token, batch.masked_positions)
        return mlm_loss(logits, batch.masked_targets), torch.full((), len(batch.masked_targets), device=device)

    @torch.no_grad()
    def judge() -> dict[str, float]:
        model.eval()
        found = [criterion(model, batch.to(device)) for batch in held_out]
        loss, pieces = (
            float(torch.stack([one.float() for one in column]).sum()) for column in zip(*found, strict=True)
        )
        return {"minus_mlm": -loss / pieces}

    fit = FitConfig(
        epochs=settings.epochs,
        patience=0,
        batch_size=settings.batch_size,
        lr=settings.lr,
        warmup_epochs=settings.epochs / 10,
        weight_decay=0.05,
    )
    fitted = Fit(model, criterion, fit, sampler.steps).run(
        batches, sampler, judge if is_held_out.any() else None, metric="minus_mlm", run_log=RunLog(place), seed=SEED
    )
    model.save(place)
    tokenizer.save(place)
    return -fitted.best
