"""The straightforward training step, written from the formulas of docs/paper.md on the modules of a given model.

It does what a first implementation does: two text passes padded to the longest report allowed, patches chosen by a loop
over all pairs of a picture and a report, logits of every word position, float32, unfused AdamW. Its losses are those of
the model and its `LossSum` (checked in every run), so that both can be timed against each other.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from flvlp.losses.config import LossConfig
from flvlp.models.flvlp import FLVLP
from flvlp.models.selection import KeySemantics
from flvlp.types import Batch


class PlainStep:
    """One step of training after the other; every study must have a lateral, and the loss all four terms."""

    def __init__(self, model: FLVLP, loss: LossConfig, lr: float, weight_decay: float, clip: float) -> None:
        self.model, self.loss, self.clip = model, loss, clip
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay, foreach=False, fused=False)

    def __call__(self, batch: Batch) -> float:
        """Takes a step on a batch whose reports are padded to the limit; returns the loss."""
        self.optimizer.zero_grad()
        total = self.losses(batch)["total"]
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return total.item()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the terms of one batch and their weighted sum as `total`."""
        encoders, loss = self.model.encoders, self.loss
        frontal, lateral = encoders.encode_image(batch.frontal), encoders.encode_lateral(batch.lateral)
        text = encoders.encode_text(batch.tokens, batch.is_token)
        masked_words = encoders.encode_text(batch.masked_tokens, batch.is_token).words
        fused = encoders.fuse(frontal.pooled, lateral.pooled, batch.has_lateral)
        temperature = loss.itc.temperature
        views = contrast(frontal.pooled, text.report, temperature) + contrast(lateral.pooled, text.report, temperature)
        terms = {
            "itc": views / 2 + contrast(fused, text.report, temperature),
            "mlm": self.mlm(batch, torch.cat([frontal.patches, lateral.patches], dim=1), text.words, masked_words),
            "view_alignment": self.view_alignment(batch, frontal.patches, lateral.patches, text.words),
            "prototype": self.prototype([frontal.pooled, lateral.pooled, text.report]),
        }
        weights = {name: getattr(loss, name).weight for name in terms}
        return terms | {"total": sum((weights[name] * term for name, term in terms.items()), torch.zeros(()))}

    def mlm(self, batch: Batch, patches: Tensor, words: Tensor, masked_words: Tensor) -> Tensor:
        """Masked words from key semantics: (B, P, D) patches, (B, T, D) words."""
        model, memory = self.model, []
        assert model.key_semantics is not None
        for study in range(len(patches)):
            for report in range(len(words)):  # every report asks every picture; the own one counts
                scores = pair_scores(patches[study], words[report][batch.is_word[report]])
                if report == study:
                    memory.append(key_semantics(model.key_semantics, patches[study], scores))
        keys = torch.stack(memory)
        is_key = torch.ones(keys.shape[:2], dtype=torch.bool, device=keys.device)
        logits = model.mlm_head(model.mlm_decoder(masked_words, batch.is_token, keys, is_key))  # of every position
        targets = torch.full_like(batch.tokens, -100).flatten()
        targets[batch.masked_positions] = batch.masked_targets
        return functional.cross_entropy(logits.flatten(0, 1), targets, ignore_index=-100)

    def view_alignment(self, batch: Batch, frontal: Tensor, lateral: Tensor, words: Tensor) -> Tensor:
        """Word i of the frontal against word i of the lateral, of (B, P, D) patches and (B, T, D) words."""
        temperature, others = self.loss.view_alignment.temperature, self.model.lateral_negatives
        is_memory = [torch.ones(view.shape[:2], dtype=torch.bool, device=view.device) for view in (frontal, lateral)]

        def ask(view: int, shift: int) -> Tensor:
            patches = (frontal, lateral)[view].roll(-shift, dims=0)
            asked = self.model.alignment_decoder(words, batch.is_word, patches, is_memory[view])
            return functional.normalize(asked, dim=-1)

        asked = [[ask(view, shift) for shift in range(others + 1)] for view in (0, 1)]
        losses = []
        for study in range(len(words)):
            is_word = batch.is_word[study]
            for view in (0, 1):
                own, other = asked[view][0][study][is_word], asked[1 - view][0][study][is_word]
                logits = [own @ other.T]
                for shift in range(1, others + 1):
                    if batch.report_key[study] != batch.report_key[(study + shift) % len(words)]:
                        negative = asked[1 - view][shift][study][is_word]
                        logits.append((own * negative).sum(dim=1, keepdim=True))
                own_word = torch.arange(len(own), device=own.device)
                columns = torch.cat(logits, dim=1) / temperature
                losses.append(functional.cross_entropy(columns, own_word, reduction="sum") / 2)
        return torch.stack(losses).sum() / batch.is_word.sum()

    def prototype(self, parts: list[Tensor]) -> Tensor:
        """Swapped prediction between frontal, lateral and report features, (B, D) each."""
        config, model = self.loss.prototype, self.model
        features = [functional.normalize(part, dim=-1) for part in parts]
        rows = functional.normalize(model.prototypes, dim=-1)
        codes = []
        for number, part in enumerate(features):
            seen = part.detach()
            if model.queue is not None:
                seen = torch.cat([seen, model.queue.features[number][model.queue.is_filled[number]]])
            codes.append(sinkhorn(seen @ rows.detach().T, config.epsilon, config.iterations)[: len(part)])
        if model.queue is not None:
            filled = torch.ones(len(parts), len(parts[0]), dtype=torch.bool, device=rows.device)
            model.queue.push(torch.stack(features).detach(), filled)
        predicted = [functional.log_softmax(part @ rows.T / config.temperature, dim=-1) for part in features]
        pairs = [(2, 0), (2, 1)] + [(0, 2), (1, 2)] * config.bidirectional  # code of, predicted from
        losses = [-(codes[code] * predicted[image]).sum(dim=-1).mean() for code, image in pairs]
        return torch.stack(losses).mean()


def contrast(images: Tensor, reports: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE of (B, D) images and reports."""
    logits = functional.normalize(images, dim=-1) @ functional.normalize(reports, dim=-1).T / temperature
    own = torch.arange(len(images), device=images.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


@torch.no_grad()
def pair_scores(patches: Tensor, words: Tensor) -> Tensor:
    """Scores the patches (P, D) of a study by one report's words (n, D): (P,)."""
    typical = functional.cosine_similarity(patches, patches.mean(dim=0, keepdim=True))
    return typical + functional.cosine_similarity(patches, words.mean(dim=0, keepdim=True))


def key_semantics(module: KeySemantics, patches: Tensor, scores: Tensor) -> Tensor:
    """Aggregates the best patches (P, D) of one study to S tokens, and the rest to one more: (S + 1, D)."""
    order = torch.argsort(scores, descending=True, stable=True)
    keep = math.ceil(round(module.keep_ratio * len(order), 6))
    best, rest = order[:keep], order[keep:]
    shares = torch.softmax(module.scale * module.weights(patches[best]), dim=0)
    extra = torch.softmax(scores[rest], dim=0) @ patches[rest]
    return torch.cat([shares.T @ patches[best], extra.unsqueeze(0)])


def sinkhorn(similarity: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Codes (N, K) with rows that sum to 1 and about equal columns."""
    plan = torch.exp((similarity - similarity.max()) / epsilon)
    for _ in range(iterations):
        plan = plan / plan.sum(dim=0, keepdim=True)
        plan = plan / plan.sum(dim=1, keepdim=True)
    return plan
