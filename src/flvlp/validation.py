"""What pre-training is judged by after every epoch: each term on held-out studies, retrieval, what images taught it.

A term can fall without using the images. Two figures are therefore taken twice, with the own images and with another
study's (docs/paper.md section 4): the gap is what the term has learned from them.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from flvlp import distributed
from flvlp.losses.config import LossConfig
from flvlp.losses.itc import itc_total
from flvlp.losses.mlm import mlm_loss
from flvlp.losses.prototype import prototype_loss, sinkhorn
from flvlp.losses.view_alignment import view_alignment_loss
from flvlp.metrics.bootstrap import paired_bootstrap
from flvlp.metrics.prototypes import perplexity, prototype_similarity, purity
from flvlp.metrics.retrieval import RECALL_AT, recall_at, retrieval
from flvlp.models.encoders import Views
from flvlp.models.flvlp import FLVLP
from flvlp.types import Batch

log = logging.getLogger(__name__)

ITC_BLOCK = 1024  # consecutive studies that the validation ITC contrasts; fixed, so that no batch size enters
SUMS = ("mlm", "mlm_pieces", "mlm_shuffled", "view_alignment", "view_words", "view_alignment_shuffled")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The validation studies.

    Attributes:
        own, shuffled: batches of the same studies in the same order; `shuffled` carries another study's images.
        is_swapped: (studies,) bool of the whole source, False for a study that `shuffled` shows with its own images.
        patients: patient id of every study of the source.
        labels: (studies, C) 0 or 1 of the whole source, None where there are none.
    """

    own: Iterable[Batch]
    shuffled: Iterable[Batch]
    is_swapped: np.ndarray
    patients: Sequence[str]
    labels: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Validated:
    """What validation finds, the same on every rank and for any batch size and world size.

    Attributes:
        figures: by name: `itc`, `mlm`, `view_alignment`, `prototype` in nats (active terms only), `*_shuffled` and
            `*_gap` for the two terms above, `retrieval/<frontal|lateral|fused>/...`, `fused_minus_frontal/...`,
            `prototypes/...`.
        studies: (N,) int64, positions in the source, ascending; without those that could not be read.
        has_lateral: (N,) bool.
        features: (N, 4, D) float32, frontal, lateral, fused, report; zero for an absent lateral and an untrained fused.
    """

    figures: dict[str, float]
    studies: np.ndarray
    has_lateral: np.ndarray
    features: Tensor


@torch.no_grad()
def validate(
    model: FLVLP, held_out: HeldOut, config: LossConfig, device: torch.device, dtype: torch.dtype | None
) -> Validated:
    """Evaluates the model on held-out studies of all ranks.

    Args:
        model: without DDP around it; left in training mode.
        held_out: this rank's batches.
        config: temperatures.
        device, dtype: as in training.
    """
    model.eval()
    sums = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
    # A rank may hold no study at all.
    features = [torch.zeros(0, 4, model.encoders.config.width, device=device)]
    rows = [torch.zeros(0, 3, dtype=torch.int64, device=device)]
    for own, shuffled in zip(held_out.own, held_out.shuffled, strict=True):
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            is_swapped = torch.from_numpy(held_out.is_swapped[own.study_index.numpy()]).to(device)
            part, batch_features = _evaluate_batch(model, own.to(device), shuffled.to(device), is_swapped, config)
        sums += part
        features.append(batch_features)
        rows.append(torch.stack([own.study_index, own.has_lateral.long(), own.is_valid.long()], dim=1).to(device))
    model.train()
    all_features = distributed.gather_rows(torch.cat(features))
    table = distributed.gather_rows(torch.cat(rows)).cpu()
    order = torch.argsort(table[:, 0])  # the order of the source, whatever rank read what
    unreadable = int((table[:, 2] == 0).sum())
    if unreadable:
        log.warning("validation leaves out %d of %d studies: an image cannot be read", unreadable, len(table))
    order = order[table[order, 2] == 1]
    figures = _ratios(dict(zip(SUMS, distributed.sum_over_ranks(sums).tolist(), strict=True)), model.terms)
    all_features = all_features[order.to(device)]
    frontal, lateral, fused, report = all_features.unbind(dim=1)
    study, has_lateral = table[order, 0].numpy(), table[order, 1].bool().to(device)
    sides = {"frontal": (frontal, report), "lateral": (lateral[has_lateral], report[has_lateral])}
    if "itc" in model.terms:
        sides["fused"] = (fused, report)
        figures["itc"] = _block_itc(all_features, has_lateral, config.itc.temperature)
    for side, (images, reports) in sides.items():
        figures |= {f"retrieval/{side}/{key}": value for key, value in retrieval(images, reports).items()}
    if "itc" in model.terms and bool(has_lateral.any()):
        patients = [held_out.patients[index] for index in study[has_lateral.cpu().numpy()]]
        figures |= _fused_minus_frontal(frontal, fused, report, has_lateral, patients)
    if "prototype" in model.terms:
        labels = None if held_out.labels is None else held_out.labels[study]
        figures |= _prototype_figures(model, torch.stack([frontal, lateral, report]), has_lateral, config, labels)
    return Validated(figures, study, has_lateral.cpu().numpy(), all_features)


def _evaluate_batch(
    model: FLVLP, own: Batch, shuffled: Batch, is_swapped: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """Returns this batch's sums, in the order of `SUMS`, and its features (B, 4, D) frontal, lateral, fused, report."""
    views, others = model.encoders.encode_views(own), model.encoders.encode_views(shuffled)
    text, masked_words = model.encode_reports(own)
    sums = dict.fromkeys(SUMS, 0.0)
    # An unreadable image of either, or no other study to take images from, takes a study out of both figures.
    both_valid = own.is_valid & shuffled.is_valid & is_swapped
    if masked_words is not None:
        kept = both_valid[own.masked_positions // own.tokens.shape[1]]
        batch = replace(own, masked_positions=own.masked_positions[kept], masked_targets=own.masked_targets[kept])
        for name, images in (("mlm", views), ("mlm_shuffled", others)):
            predicted = model.predict_masked(batch, images, text, masked_words)
            with torch.autocast(own.tokens.device.type, enabled=False):
                sums[name] = float(mlm_loss(predicted.logits, predicted.targets))
        sums["mlm_pieces"] = len(batch.masked_targets)
    if "view_alignment" in model.terms:
        aligned = own.has_lateral & shuffled.has_lateral & both_valid
        both = replace(views, has_lateral=aligned, lateral_rows=torch.nonzero(aligned).flatten())
        for name, laterals in (("view_alignment", views), ("view_alignment_shuffled", others)):
            asked = model.align(own, both, text, laterals.lateral_patches)
            with torch.autocast(own.tokens.device.type, enabled=False):
                sums[name] = float(view_alignment_loss(asked, config.view_alignment.temperature))
        sums["view_words"] = int(own.is_word[aligned].sum())
    return torch.tensor(list(sums.values()), dtype=torch.float64, device=own.tokens.device), _pooled(
        model, views, text.report
    )


def _pooled(model: FLVLP, views: Views, report: Tensor) -> Tensor:
    """Returns (B, 4, D) float32; the fused part is zero where nothing trains it."""
    fused = model.fuse(views)
    parts = (views.frontal, views.lateral, torch.zeros_like(views.frontal) if fused is None else fused, report)
    return torch.stack([part.float() for part in parts], dim=1)


def _ratios(sums: dict[str, float], terms: frozenset[str]) -> dict[str, float]:
    """Returns means and gaps of the two terms that are taken with own and with shuffled images."""
    figures: dict[str, float] = {}
    for term, count in (("mlm", sums["mlm_pieces"]), ("view_alignment", sums["view_words"])):
        if term in terms and count:
            own, shuffled = sums[term] / count, sums[f"{term}_shuffled"] / count
            figures |= {term: own, f"{term}_shuffled": shuffled, f"{term}_gap": shuffled - own}
    return figures


def _block_itc(features: Tensor, has_lateral: Tensor, temperature: float) -> float:
    """Returns the ITC term (N, 4, D) averaged over blocks of consecutive studies."""
    total = 0.0
    for start in range(0, len(features), ITC_BLOCK):
        block, present = features[start : start + ITC_BLOCK], has_lateral[start : start + ITC_BLOCK]
        total += float(itc_total(block, torch.stack([torch.ones_like(present), present]), temperature)) * len(block)
    return total / max(len(features), 1)


def _fused_minus_frontal(
    frontal: Tensor, fused: Tensor, report: Tensor, has_lateral: Tensor, patients: Sequence[str]
) -> dict[str, float]:
    """Returns what the lateral adds: R@1 of fused minus frontal on the studies that have one, paired, by patient."""
    gains = [
        recall_at(fused, report, 1) - recall_at(frontal, report, 1),
        recall_at(report, fused, 1) - recall_at(report, frontal, 1),
    ]
    interval = paired_bootstrap(torch.stack(gains).mean(dim=0)[has_lateral].cpu().numpy(), patients)
    return {
        "fused_minus_frontal/r1": interval.mean,
        "fused_minus_frontal/r1_low": interval.low,
        "fused_minus_frontal/r1_high": interval.high,
        "fused_minus_frontal/studies": float(len(patients)),
    }


def _prototype_figures(
    model: FLVLP, features: Tensor, has_lateral: Tensor, config: LossConfig, labels: np.ndarray | None
) -> dict[str, float]:
    """Returns the prototype term and the use of prototypes over the whole set (3, N, D) at once."""
    everyone = torch.ones_like(has_lateral)
    present = torch.stack([everyone, has_lateral, everyone])
    figures = {"prototype": float(prototype_loss(features, present, model.prototypes, config.prototype))}
    for name, part in (("frontal", features[0]), ("report", features[2])):
        similarity = prototype_similarity(part, model.prototypes)
        code = sinkhorn(similarity, everyone, config.prototype.epsilon, config.prototype.iterations)
        nearest = similarity.argmax(dim=1)
        figures[f"prototypes/{name}/perplexity"] = perplexity(code.mean(dim=0))
        figures[f"prototypes/{name}/nearest_perplexity"] = perplexity(nearest.bincount(minlength=len(model.prototypes)))
        if labels is not None:
            clusters = nearest.cpu().numpy()
            shuffled = np.random.default_rng(0).permutation(labels)
            figures[f"prototypes/{name}/purity"] = purity(clusters, labels)
            figures[f"prototypes/{name}/purity_by_chance"] = purity(clusters, shuffled)
    return figures


def format_figures(figures: dict[str, float]) -> str:
    """Returns the figures as a short table for the console; `metrics.jsonl` holds all of them."""
    lines = [
        f"  {term:15s} {figures[term]:8.3f} nats" + _with_gap(figures, term)
        for term in ("itc", "mlm", "view_alignment", "prototype")
        if term in figures
    ]
    for side in ("frontal", "lateral", "fused"):
        if f"retrieval/{side}/r1" in figures:
            recalls = " ".join(f"{figures[f'retrieval/{side}/r{k}']:.3f}" for k in RECALL_AT)
            lines.append(f"  {side:8s} R@1/5/10 {recalls}  (mean of both directions)")
        elif side == "fused":
            lines.append("  fused    R@1/5/10 n/a  (without itc nothing trains the fused head)")
    if "fused_minus_frontal/r1" in figures:
        mean, low, high = (figures[f"fused_minus_frontal/{key}"] for key in ("r1", "r1_low", "r1_high"))
        studies = int(figures["fused_minus_frontal/studies"])
        lines.append(f"  fused - frontal R@1 {mean:+.3f} [{low:+.3f}, {high:+.3f}] on {studies} studies with a lateral")
    for part in ("frontal", "report"):
        if f"prototypes/{part}/perplexity" in figures:
            perplexity, nearest = (figures[f"prototypes/{part}/{key}"] for key in ("perplexity", "nearest_perplexity"))
            lines.append(
                f"  prototypes of {part}s: perplexity {perplexity:.1f} of codes, {nearest:.1f} of nearest ones"
            )
    return "\n".join(lines)


def _with_gap(figures: dict[str, float], term: str) -> str:
    """Returns what a term loses with another study's images, where that is measured."""
    if f"{term}_gap" not in figures:
        return ""
    return f", {figures[f'{term}_shuffled']:.3f} with another study's images: gap {figures[f'{term}_gap']:+.3f}"
