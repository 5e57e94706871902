"""Prototype-level alignment of images and reports (term `prototype`, docs/paper.md section 5)."""

import torch
from torch import Tensor
from torch.nn import functional

from flvlp.distributed import gather_masks, gather_with_grad
from flvlp.losses.config import PrototypeConfig
from flvlp.types import Output, QueueState

FRONTAL, LATERAL, REPORT = range(3)


@torch.no_grad()
def sinkhorn(logits: Tensor, is_present: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Computes codes: a transport plan with uniform marginals over prototypes and over present studies.

    Args:
        logits: (N, K) similarities of all studies of the global batch (no collective happens here).
        is_present: (N,) bool; absent studies take no part.
        epsilon: entropy of the plan; smaller is sharper.
        iterations: rounds; each ends on the study side.

    Returns:
        (N, K) float32, each present row sums to 1, absent rows are 0.

    Source: SwAV (Caron et al. 2020), with absent studies. The plan is one matrix between a scale of each study and of
    each prototype, so that the exponential is taken once. Its entries are relative to the highest of their column,
    which the first round evens out anyway; float32 holds them while similarities differ by less than 80 epsilon.
    """
    scaled = (logits.float() / epsilon).masked_fill(~is_present.unsqueeze(1), -torch.inf)
    if not len(scaled):
        return scaled
    smallest = torch.finfo(scaled.dtype).tiny
    kernel = (scaled - scaled.amax(dim=0).clamp_min(torch.finfo(scaled.dtype).min)).exp()  # absent rows are 0
    studies = is_present.to(kernel.dtype)
    share = is_present.sum() / kernel.shape[1]  # of the studies, for each prototype
    with torch.autocast(kernel.device.type, enabled=False):
        for _ in range(iterations):
            prototypes = share / (studies @ kernel).clamp_min(smallest)
            studies = 1 / (kernel @ prototypes).clamp_min(smallest)
    return kernel * prototypes * studies.unsqueeze(1)


def prototype_loss(
    features: Tensor,
    is_present: Tensor,
    prototypes: Tensor,
    config: PrototypeConfig,
    queue: QueueState | None = None,
) -> Tensor:
    """Computes the swapped prediction between images and reports.

    The code of a report is predicted from its frontal and lateral image and, where `bidirectional`, the code of each
    image from the report.

    Args:
        features: (3, N, D) frontal, lateral, report of the global batch, any scale.
        is_present: (3, N) bool.
        prototypes: (K, D), any scale; normalised here, never in place.
        config: temperature, Sinkhorn's epsilon and iterations, bidirectional.
        queue: studies of earlier batches; they take part in the codes only.

    Returns:
        Scalar in nats: the mean of the two or four cross-entropies, each over the studies that have both parts; a pair
        of parts that no study of the global batch has does not count. 0 with a graph when no study is present.
    """
    features = functional.normalize(features.float(), dim=-1)
    rows = functional.normalize(prototypes.float(), dim=-1)
    logits = features @ rows.T  # (3, N, K)
    size = features.shape[1]

    def codes(part: int) -> Tensor:
        similarity, present = logits[part].detach(), is_present[part]
        if queue is not None:
            similarity = torch.cat([similarity, queue.features[part].float() @ rows.detach().T])
            present = torch.cat([present, queue.is_filled[part]])
        return sinkhorn(similarity, present, config.epsilon, config.iterations)[:size]

    def cross_entropy(code: Tensor, predicted: int, present: Tensor) -> Tensor:
        log_probability = functional.log_softmax(logits[predicted] / config.temperature, dim=-1)
        per_study = torch.where(present, (code * log_probability).sum(dim=-1), 0.0)
        return -per_study.sum() / present.sum().clamp_min(1)

    report_code = codes(REPORT)
    losses, exists = [], []
    for image in (FRONTAL, LATERAL):
        present = is_present[image] & is_present[REPORT]
        losses.append(cross_entropy(report_code, image, present))
        if config.bidirectional:
            losses.append(cross_entropy(codes(image), REPORT, present))
        exists += [present.any()] * (1 + config.bidirectional)
    return torch.stack(losses).sum() / torch.stack(exists).sum().clamp_min(1)


class PrototypeLoss:
    """L_prototype over the global batch; writes the batch to the model's queue where there is one."""

    def __init__(self, config: PrototypeConfig) -> None:
        self.config = config

    def __call__(self, output: Output) -> Tensor:
        """Returns the scalar loss of a training batch."""
        if output.prototypes is None:
            raise ValueError("PrototypeLoss: the model holds no prototypes; build it with the term `prototype`")
        parts = torch.stack([output.frontal.float(), output.lateral.float(), output.report.float()], dim=1)
        features = gather_with_grad(parts).transpose(0, 1)  # (3, N, D)
        valid = output.is_valid
        is_present = gather_masks([valid, valid & output.has_lateral, valid])
        queue = output.queue.state() if output.queue is not None else None
        loss = prototype_loss(features, is_present, output.prototypes, self.config, queue)
        if output.queue is not None:
            output.queue.push(functional.normalize(features.detach(), dim=-1), is_present)
        return loss
