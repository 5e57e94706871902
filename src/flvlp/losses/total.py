"""The weighted sum of the active terms."""

import torch
from torch import Tensor

from flvlp.losses.config import LossConfig
from flvlp.losses.itc import ITCLoss
from flvlp.losses.mlm import MLMLoss
from flvlp.losses.prototype import PrototypeLoss
from flvlp.losses.view_alignment import ViewAlignmentLoss
from flvlp.types import Counts, Output


class LossSum:
    """L = sum of weight * term, in float32 with autocast off."""

    def __init__(self, config: LossConfig, terms: frozenset[str]) -> None:
        """Takes weights and temperatures from `config`; `terms` are those that the model was built with."""
        self.prototype_start = config.prototype.start_epoch
        self.weights = {term: getattr(config, term).weight for term in sorted(terms)}
        self._itc, self._mlm = ITCLoss(config.itc), MLMLoss()
        self._view_alignment, self._prototype = (
            ViewAlignmentLoss(config.view_alignment),
            PrototypeLoss(config.prototype),
        )

    def __call__(self, output: Output, counts: Counts) -> dict[str, Tensor]:
        """Returns the active terms by name and their weighted sum as `total`.

        Terms that see the whole batch are divided by the number of micro-batches, so that summing every entry over the
        micro-batches of a step, and averaging over ranks, gives the step's value.
        """
        with torch.autocast(output.report.device.type, enabled=False):
            terms: dict[str, Tensor] = {}
            if "itc" in self.weights:
                terms["itc"] = self._itc(output) / counts.micro_batches
            if "mlm" in self.weights:
                terms["mlm"] = self._mlm(output, counts)
            if "view_alignment" in self.weights:
                terms["view_alignment"] = self._view_alignment(output, counts)
            if "prototype" in self.weights:
                terms["prototype"] = self._prototype(output) / counts.micro_batches
            weighted = [self._weight(term, counts.epoch) * value for term, value in terms.items()]
            terms["total"] = torch.stack(weighted).sum()
        return terms

    def _weight(self, term: str, epoch: float) -> float:
        """Returns the weight of a term in this step; 0 keeps the graph, so that DDP finds every parameter."""
        return 0.0 if term == "prototype" and epoch < self.prototype_start else self.weights[term]
