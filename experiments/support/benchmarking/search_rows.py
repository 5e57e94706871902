"""Rows about choosing patches, features, retrieval, and how fast an entry point answers."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.benchmarking.contenders import Contender, compete
from support.benchmarking.rows import Figure, Row, Settings, duel, spread_of
from support.benchmarking.steps import Workload, make_batch, make_model

ENTRIES = Path(__file__).parents[2]
BATCHES = 8, 64
_BLOCK = 512  # queries of the bare products at a time; the fastest of 32, 64, ... 1024 (docs/log.md)
QUICK = "<= 3"  # seconds until an entry point answers


def selection_row(settings: Settings) -> Row:
    """Whether the choice of key patches is linear in the batch; the plain loop over all pairs beside it."""
    ours, plain = (
        duel((make, [settings.paper, BATCHES[0]]), (make, [settings.paper, BATCHES[1]]), settings)
        for make in (our_selection, plain_selection)
    )
    growth, of_pairs = (large.median / small.median for small, large in (ours, plain))
    what = (
        f"key semantics of {BATCHES[1]} studies ({ours[1].median * 1e3:.1f} ms) beside {BATCHES[0]} "
        f"({ours[0].median * 1e3:.1f} ms); a loop over pairs grows {of_pairs:.1f} times and takes "
        f"{plain[1].median / ours[1].median:.1f} times ours"
    )
    figure = Figure("time(64) / time(8)", growth, "<= 9", spread_of(ours[1], ours[0]))
    return Row("selection", what, [figure], {"ours": [*map(vars, ours)], "pairs": [*map(vars, plain)]})


def _patches_and_words(workload: Workload, size: int) -> tuple[Any, ...]:
    import torch

    model = make_model(workload.sized(2))
    patches = sum(rows * columns for rows, columns in model.encoders.grids)
    width, limit = workload.encoder.width, workload.encoder.text.max_tokens
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(workload.seed)
    shapes = (size, patches, width), (size, limit, width)
    drawn = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    masks = [torch.ones(shape[:2], dtype=torch.bool, device=device) for shape in shapes]
    return model.key_semantics, *drawn, *masks


def our_selection(workload: Workload, size: int) -> Callable[[], None]:
    """Makes the batched choice for `size` studies, without gradient."""
    import torch

    module, patches, words, is_valid, is_word = _patches_and_words(workload, size)

    @torch.no_grad()
    def run() -> None:
        module(patches, is_valid, words, is_word)

    return run


def plain_selection(workload: Workload, size: int) -> Callable[[], None]:
    """Makes the loop over all pairs of a picture and a report, without gradient."""
    import torch

    from support.benchmarking.plain import key_semantics, pair_scores

    module, patches, words, _, _ = _patches_and_words(workload, size)

    @torch.no_grad()
    def run() -> None:
        for study in range(size):
            for report in range(size):
                scores = pair_scores(patches[study], words[report])
                if report == study:
                    key_semantics(module, patches[study], scores)

    return run


def retrieval_row(settings: Settings) -> Row:
    """Ranks over a whole pool beside the bare matrix products, and the memory as the pool grows."""
    pool, width = settings.pool, settings.paper.encoder.width
    plain, ours = duel((bare_products, [pool, width]), (find_ranks, [pool, width]), settings)
    with Contender(find_ranks, [pool // 4, width], settings.all_threads) as contender:
        (small,) = compete([contender], 1)
    grown = [one.peak_gib - one.start_gib for one in (small, ours)]
    what = (
        f"R@1, 5, 10 of {pool:,} pictures in {pool:,} reports ({ours.median:.2f} s) beside the products alone "
        f"({plain.median:.2f} s); a quarter of the pool takes {grown[0]:.2f} GiB, all of it {grown[1]:.2f}"
    )
    figures = [
        Figure("time, retrieval / products", ours.median / plain.median, "<= 1.3", spread_of(ours, plain)),
        Figure("memory, pool / quarter (pairs: 16)", grown[1] / max(grown[0], 1e-3), "<= 5"),
    ]
    return Row("retrieval", what, figures, {"products": vars(plain), "ranks": vars(ours), "quarter": vars(small)})


def _features(pool: int, width: int) -> tuple[Any, Any]:
    import torch

    from flvlp import distributed

    device = distributed.start()
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(pool, width, generator=generator), dim=-1).to(device)
    noise = torch.randn(pool, width, generator=generator).to(device)
    return images, torch.nn.functional.normalize(images + noise / width**0.5, dim=-1)


def bare_products(pool: int, width: int) -> Callable[[], None]:
    """Makes the similarities of all pairs, a block of queries at a time, and nothing else."""
    import torch

    images, reports = _features(pool, width)
    block = torch.empty(_BLOCK, pool, device=images.device)  # one place for all, as the ranks have

    def run() -> None:
        for start in range(0, pool, _BLOCK):
            queries = images[start : start + _BLOCK]
            torch.mm(queries, reports.T, out=block[: len(queries)])

    return run


def find_ranks(pool: int, width: int) -> Callable[[], float]:
    """Makes the recall of one direction; returns R@1."""
    from flvlp.metrics.retrieval import RECALL_AT, own_hits

    images, reports = _features(pool, width)

    def run() -> float:
        hits = own_hits(images, reports)
        figures = [float(hits.recall(k).float().mean()) for k in RECALL_AT]
        return figures[0]

    return run


def features_row(settings: Settings) -> Row:
    """Features of many studies: time a study and memory as their number grows."""
    counts = settings.studies * 4, settings.studies * 16
    contenders = [Contender(encode_studies, [settings.small, count], settings.all_threads) for count in counts]
    with contenders[0], contenders[1]:
        small, large = compete(contenders, settings.turns)
    grown = [one.peak_gib - one.start_gib for one in (small, large)]
    what = (
        f"features of {counts[1]} studies with the small encoders: {counts[1] / large.median:.0f} studies/s, "
        f"{grown[1]:.2f} GiB; of {counts[0]}: {counts[0] / small.median:.0f}, {grown[0]:.2f}"
    )
    more = counts[1] / counts[0]
    figures = [
        Figure(
            "cost of a study, many / few", large.median / small.median / more, "<= 1.1", spread_of(large, small, more)
        ),
        Figure("memory, many / few (4 times as many)", grown[1] / max(grown[0], 0.01), "<= 5"),
    ]
    return Row("features", what, figures, {"few": vars(small), "many": vars(large)})


def encode_studies(workload: Workload, count: int) -> Callable[[], None]:
    """Makes the encoding of `count` studies, batch after batch, as the downstream tasks do."""
    from flvlp.engine.optim import autocast_dtype
    from flvlp.engine.predict import predict

    model, batch = make_model(workload).eval(), make_batch(workload, is_padded=False)
    device, encoders = next(model.parameters()).device, model.encoders

    def forward(batch: Any) -> dict[str, Any]:
        views = encoders.encode_views(batch)
        return {"fused": encoders.fuse(views.frontal, views.lateral, batch.has_lateral)}

    def run() -> None:
        batches = (batch for _ in range(-(-count // workload.batch_size)))
        predict(forward, batches, device, autocast_dtype("auto", device))

    return run


def startup_row(settings: Settings) -> Row:
    """How long every entry point takes to print its help, and to say that a key is misspelt."""
    answers: dict[str, float] = {}
    for path in sorted(ENTRIES.glob("*.py")):
        for argument, status in (("--help", 0), ("seeed=1", 1)):
            taken = []
            for _ in range(settings.turns):
                start = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, str(path), argument], capture_output=True, text=True, check=False
                )
                taken.append(time.perf_counter() - start)
                if done.returncode != status:
                    raise RuntimeError(
                        f"benchmark: {path.name} {argument} ended with status {done.returncode}, not {status}: "
                        f"{done.stderr.strip()[-300:]}"
                    )
            answers[f"{path.stem} {argument}"] = min(taken)  # what else the machine does only adds to it
    slowest = max(answers, key=lambda name: answers[name])
    what = f"{len(answers)} answers of {len(answers) // 2} entry points; the slowest is {slowest}"
    return Row("startup", what, [Figure("seconds of the slowest answer", answers[slowest], QUICK)], answers)
