"""Masked language modelling (term `mlm`, docs/paper.md section 3)."""

from torch import Tensor
from torch.nn import functional

from flvlp.distributed import world_size
from flvlp.types import Counts, Output


def mlm_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Computes the *summed* cross-entropy of the masked pieces.

    Args:
        logits: (N, V) of the masked positions only.
        targets: (N,) vocabulary ids.

    Returns:
        Scalar in nats, summed; 0 with a graph when N = 0.
    """
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


class MLMLoss:
    """L_mlm, the mean over the masked pieces of all ranks and micro-batches of the step."""

    def __call__(self, output: Output, counts: Counts) -> Tensor:
        """Returns W * sum / count: averaged over ranks (DDP) and summed over micro-batches it is the global mean."""
        if output.mlm is None:
            raise ValueError("MLMLoss: the model predicted no masked words; build it with the term `mlm`")
        return world_size() * mlm_loss(output.mlm.logits, output.mlm.targets) / counts.masked_pieces
