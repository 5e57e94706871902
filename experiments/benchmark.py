"""Speed and memory, each figure beside a plain reference in the same run.

python experiments/benchmark.py                                    # every row, about a quarter of an hour on two cores
python experiments/benchmark.py 'rows=[step_bf16,matmul_share]'    # some of them
python experiments/benchmark.py encoder=tiny batch_size=32         # the step of other encoders
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import SEEDS, check_fields, check_range
from flvlp.losses.config import LossConfig
from flvlp.models.config import EncoderConfig, HeadsConfig
from support.benchmarking import data_rows, search_rows
from support.benchmarking.rows import Row, Settings, batch_row, matmul_row, ranks_row, step_row
from support.benchmarking.steps import Workload
from support.benchmarking.tables import as_json, markdown
from support.entry import CONF, remove_if_empty, run_folder, run_main, typed

log = logging.getLogger(__name__)

ROWS: dict[str, Callable[[Settings], Row]] = {
    "step_bf16": partial(step_row, precision="bf16"),
    "step_fp32": partial(step_row, precision="fp32"),
    "matmul_share": partial(matmul_row, precision="auto"),
    "selection": search_rows.selection_row,
    "cache": data_rows.cache_row,
    "data_wait": data_rows.wait_row,
    "ranks_small": partial(ranks_row, size="small"),
    "ranks_paper": partial(ranks_row, size="paper"),
    "batch": batch_row,
    "listing": data_rows.listing_row,
    "features": search_rows.features_row,
    "retrieval": search_rows.retrieval_row,
    "startup": search_rows.startup_row,
}


@dataclass
class Args:
    """Everything that can be set.

    Attributes:
        rows: names of `ROWS`; empty for all.
        encoder, small: of the rows at the paper's size, and of the others.
        loss, heads: of all steps.
        batch_size, small_batch_size: studies of a step.
        turns: of each contender that count, after one that warms up.
        threads: of a process; 0 takes one a core.
        studies: of the rows about reading and features; pool: of retrieval; files: of the data set that is listed.
        picture: height and width in pixels of a published picture.
        seed: of weights and studies.
    """

    rows: list[str] = field(default_factory=list)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    small: EncoderConfig = field(default_factory=EncoderConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    batch_size: int = 8
    small_batch_size: int = 32
    turns: int = 3
    threads: int = 0
    studies: int = 64
    pool: int = 20_000
    files: int = 400_000
    picture: tuple[int, int] = (3056, 2544)
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.rows if name not in ROWS]
        if unknown:
            raise ValueError(f"rows: unknown row {unknown[0]!r}; choose from: {', '.join(ROWS)}")
        check_fields(self, "", "[2, inf)", "batch_size", "small_batch_size")
        check_fields(self, "", "[1, inf)", "turns", "studies")
        check_fields(self, "", "[0, inf)", "threads")
        check_fields(self, "", "[40, inf)", "pool")
        check_fields(self, "", "[4, inf)", "files")
        check_fields(self, "", SEEDS, "seed")
        for side in self.picture:
            check_range("picture", side, "[1, inf)")

    def workload(self, encoder: EncoderConfig, batch_size: int) -> Workload:
        """Returns what is trained with these encoders: all four terms from the start."""
        recipe = encoder.recipe
        heads = replace(
            self.heads,
            prototypes=recipe.prototypes,
            queue=recipe.queue,
            lateral_negatives=recipe.lateral_negatives,
        )
        loss = replace(self.loss, prototype=replace(self.loss.prototype, start_epoch=0.0))
        return Workload(encoder, heads, loss, batch_size, self.seed)


@hydra.main(version_base="1.3", config_path=CONF, config_name="benchmark")
def main(cfg: DictConfig) -> None:
    """Composes the configuration and measures."""
    folder = run_folder()
    try:
        args = typed(Args, cfg)
        measure(args, folder, OmegaConf.to_yaml(cfg))
    finally:
        remove_if_empty(folder)


def measure(args: Args, folder: Path, config_yaml: str) -> list[Row]:
    """Runs the rows and writes `benchmark.json` and `table.md` into a folder; after each row, what there is so far."""
    from flvlp.engine import log as run_logs

    run_logs.set_up_console()
    run_logs.open_run(folder, config_yaml, args.seed, is_new=True, is_latest=True)
    settings = Settings(
        paper=args.workload(args.encoder, args.batch_size),
        small=args.workload(args.small, args.small_batch_size),
        turns=args.turns,
        threads=args.threads,
        studies=args.studies,
        pool=args.pool,
        files=args.files,
        picture=args.picture,
    )
    rows: list[Row] = []
    start = time.monotonic()
    broken: list[str] = []
    for name in args.rows or ROWS:
        log.info("%s ...", name)
        try:
            rows.append(ROWS[name](settings))
        except Exception:
            log.exception("%s is broken; the others go on", name)
            broken.append(name)
            continue
        log.info("%s: %s", name, rows[-1].what)
        content = as_json(rows, settings, time.monotonic() - start)
        (folder / "benchmark.json").write_text(json.dumps(content, indent=1) + "\n")
        (folder / "table.md").write_text(markdown(rows))
    log.info("%.0f s in all; %s\n%s", time.monotonic() - start, folder / "benchmark.json", markdown(rows))
    if broken:
        raise RuntimeError(f"benchmark: {', '.join(broken)} broke, see above; rows=[{','.join(broken)}] repeats them")
    return rows


if __name__ == "__main__":
    run_main(__file__)
