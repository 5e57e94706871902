"""Sinkhorn and the prototype term written from docs/paper.md section 5 as plain loops in double precision."""

import math

import torch
from torch import Tensor

from flvlp.types import QueueState

EPSILON, ITERATIONS, TEMPERATURE = 0.07, 3, 0.1  # docs/paper.md section 5
FRONTAL, LATERAL, REPORT = range(3)


def draw(seed: int, width: int = 5) -> tuple[Tensor, Tensor, Tensor, QueueState]:
    """Returns features (3, n, D) of 1 to 7 studies, who is present, 2 to 6 prototypes and a half-filled queue."""
    generator = torch.Generator().manual_seed(seed)
    studies, prototypes, queued = seed % 7 + 1, seed % 5 + 2, 6
    features = torch.randn(3, studies, width, generator=generator) * 3
    is_present = torch.rand(3, studies, generator=generator) < 0.7
    is_present[:, int(torch.randint(studies, (1,), generator=generator))] = True
    queue = QueueState(
        torch.nn.functional.normalize(torch.randn(3, queued, width, generator=generator), dim=-1),
        torch.rand(3, queued, generator=generator) < 0.5,
    )
    return features, is_present, torch.randn(prototypes, width, generator=generator), queue


def cosine(one: Tensor, other: Tensor) -> float:
    """Returns the cosine of two vectors."""
    one, other = one.double(), other.double()
    return float((one @ other) / (one.norm() * other.norm()))


def codes_by_loops(similarities: list[list[float]], iterations: int = ITERATIONS) -> list[list[float]]:
    """Returns one code a study: marginals 1/K over prototypes and 1/n over studies, ending on the study side."""
    studies, prototypes = len(similarities), len(similarities[0])
    highest = max(max(row) for row in similarities)
    plan = [[math.exp((value - highest) / EPSILON) for value in row] for row in similarities]
    for _ in range(iterations):
        for k in range(prototypes):
            total = sum(plan[i][k] for i in range(studies))
            for i in range(studies):
                plan[i][k] /= total * prototypes
        for i in range(studies):
            total = sum(plan[i])
            plan[i] = [value / (total * studies) for value in plan[i]]
    return [[value * studies for value in row] for row in plan]


def loss_by_loops(
    features: Tensor, is_present: Tensor, prototypes: Tensor, bidirectional: bool, queue: QueueState | None
) -> float:
    """Mean of CE(q_report, p_frontal), CE(q_report, p_lateral) and, in both directions, their mirror images."""
    studies, count = features.shape[1], len(prototypes)

    def codes(part: int) -> dict[int, list[float]]:
        present = [i for i in range(studies) if is_present[part, i]]
        everyone = [features[part, i] for i in present]
        if queue is not None:
            everyone += [queue.features[part, j] for j in range(queue.features.shape[1]) if queue.is_filled[part, j]]
        if not everyone:
            return {}
        plan = codes_by_loops([[cosine(study, prototypes[k]) for k in range(count)] for study in everyone])
        return dict(zip(present, plan, strict=False))

    def cross_entropy(code_of: int, predicted: int) -> float | None:
        code = codes(code_of)
        both = [i for i in range(studies) if is_present[code_of, i] and is_present[predicted, i]]
        total = 0.0
        for i in both:
            logits = [cosine(features[predicted, i], prototypes[k]) / TEMPERATURE for k in range(count)]
            normaliser = math.log(sum(math.exp(value) for value in logits))
            total -= sum(code[i][k] * (logits[k] - normaliser) for k in range(count))
        return total / len(both) if both else None

    pairs = [(REPORT, FRONTAL), (REPORT, LATERAL)]
    if bidirectional:
        pairs += [(FRONTAL, REPORT), (LATERAL, REPORT)]
    values = [value for pair in pairs if (value := cross_entropy(*pair)) is not None]
    return sum(values) / max(len(values), 1)
