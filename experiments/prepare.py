"""Check a data set as its publisher ships it, count it, and decode its pictures once into a pixel cache.

python experiments/prepare.py dataset=nih14 dataset.root=/data/nih                    # counts, then the cache
python experiments/prepare.py dataset=nih14 dataset.root=/data/nih action=dry_run     # counts only
python experiments/prepare.py dataset=nih14 dataset.root=/data/nih action=doctor      # what is there, what is missing
python experiments/prepare.py dataset=mimic_cxr dataset.root=/data/mimic long_side=512 workers=32
"""

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from entry import typed
from flvlp.data.config import check_choice
from flvlp.data.readers.config import PHANTOM_ROOT, DatasetConfig, FilesConfig, PublishedConfig

if TYPE_CHECKING:
    from flvlp.data.cache_making import Header
    from flvlp.data.readers.files import FileSource

log = logging.getLogger(__name__)

UNREADABLE_SHOWN = 5
ACTIONS = ("prepare", "dry_run", "doctor")


@dataclass
class Args:
    """Everything that can be set."""

    dataset: Any = None
    encoder: Any = None
    action: str = "prepare"
    long_side: int = 256
    workers: int = 0
    fractions: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0])
    fraction_seeds: list[int] = field(default_factory=lambda: [0, 1, 2])

    def __post_init__(self) -> None:
        check_choice("action", self.action, ACTIONS)
        if self.long_side < 1 or self.workers < 0:
            raise ValueError(f"long_side, workers: must be at least 1 and 0, got {self.long_side} and {self.workers}")


@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Composes the configuration and does what `action` says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    args = typed(Args, cfg)
    if not isinstance(args.dataset, FilesConfig):
        raise ValueError(  # noqa: TRY004 (the user gave a value, not a type)
            f"dataset: {args.dataset.name} is made on the spot and needs no preparation; choose a data set of files"
        )
    workers = args.workers or os.cpu_count() or 1
    if args.action == "doctor":
        raise SystemExit(doctor(args.dataset, args.long_side))
    source = read(args.dataset)
    names = views_of(source)
    headers = survey(source, names, workers, args.dataset)
    if args.action == "prepare":
        prepare(args, source, headers, workers)


def read(config: DatasetConfig) -> "FileSource":
    """Lists the studies of a data set of files."""
    from flvlp.data.readers.build import build_source
    from flvlp.data.readers.files import FileSource

    source = build_source(config)
    assert isinstance(source, FileSource)
    return source


def views_of(source: "FileSource") -> list[str]:
    """Returns the path of every view that training reads, each once, in the order of the studies."""
    listing = source.listing
    pairs = zip(listing.frontal_paths, listing.lateral_paths, strict=True)
    return list(dict.fromkeys(path for views in pairs for path in views if path))


def survey(source: "FileSource", names: list[str], workers: int, config: FilesConfig) -> "dict[str, Header]":
    """The dry run: reads every header, prints the counts of each part and what cannot be read."""
    from flvlp.data import cache_making
    from flvlp.data.summary import count_parts, table_of

    headers = dict(zip(names, cache_making.survey(source.root, names, workers), strict=True))
    errors = {name: header.error for name, header in headers.items()}
    log.info("%s, split %s", config.name, source.split_name)
    log.info("%s", table_of(count_parts(source, errors)))
    dropped = ", ".join(f"{count} {what}" for what, count in source.listing.tally.items() if count)
    log.info("dropped or incomplete: %s", dropped or "none")
    warn_unreadable(errors, source.hides_ids)
    return headers


def warn_unreadable(errors: dict[str, str], hides: bool) -> dict[str, str]:
    """Names the first few pictures that cannot be read; returns all of them with the reasons."""
    from flvlp.data.readers.tables import shown

    failed = {name: error for name, error in errors.items() if error}
    for name in list(failed)[:UNREADABLE_SHOWN]:
        log.warning("unreadable: %s (%s)", shown(name, hides), failed[name])
    return failed


def prepare(args: Args, source: "FileSource", headers: "dict[str, Header]", workers: int) -> None:
    """Makes the cache, goes on with one that was left unfinished, and writes the id lists."""
    from flvlp.data.cache_making import bytes_needed, make_cache
    from flvlp.data.pixel_cache import cache_folder, cache_settings
    from flvlp.data.splits.writing import write_lists

    settings = cache_settings(args.dataset.name, source.root, args.long_side)
    folder = cache_folder(args.dataset.cache_root, settings)
    size = bytes_needed(list(headers.values()), args.long_side)
    log.info("cache: %s (%.2f GiB, %d processes)", folder, size / 2**30, workers)
    start = time.monotonic()
    entries, made = make_cache(folder, settings, source.root, headers, workers)
    seconds = time.monotonic() - start
    log.info("%d pictures decoded in %.1f s (%.1f a second and process)", made, seconds, made / seconds / workers)
    failed = warn_unreadable(dict(zip(entries.names, entries.errors, strict=True)), source.hides_ids)
    if failed:
        (folder / "unreadable.txt").write_text("".join(f"{name}: {error}\n" for name, error in failed.items()))
        log.warning(
            "%d pictures cannot be read (%s); training stops at them, or leaves them out (dataset.on_error=skip)",
            *(len(failed), folder / "unreadable.txt"),
        )
    lists, content = write_lists(folder / "splits", source, args.fractions, args.fraction_seeds)
    for name, entry in content["lists"].items():
        log.info("%-22s %8d studies  sha256 %s", name, entry["studies"], entry["sha256"][:12])
    log.info("lists: %s", lists)


def doctor(config: FilesConfig, long_side: int) -> int:
    """Prints what is there and what is missing, tries to read it, checks the cache; returns the exit status."""
    from flvlp.data.cache_making import damaged_parts
    from flvlp.data.doctor import MISSING, OK, WRONG, examine
    from flvlp.data.pixel_cache import INDEX, cache_folder, cache_settings
    from flvlp.data.readers.build import READERS, on_disk
    from flvlp.data.readers.tables import hides_ids

    is_standin = config.root == PHANTOM_ROOT
    if isinstance(config, PublishedConfig):
        config = on_disk(config)
        root = Path(config.root)
        if not root.is_dir():
            log.error("no such folder: %s\nnext: set ROOT to the download of %s (docs/data.md)", root, config.name)
            return 1
        checks = examine(root, READERS[config.name][1], hides_ids(config))
        for check in checks:
            log.info("%-10s %s: %s", check.state, check.what, check.seen)
        bad = [check for check in checks if check.state in (MISSING, WRONG)]
        if bad:
            log.error("next: %s", "; ".join(f"add {check.what} ({check.seen})" for check in bad))
            return 1
    try:
        source = read(config)
    except (ValueError, OSError) as error:
        log.error("%s\nnext: %s", "the tables and pictures do not fit together:", error)  # noqa: TRY400
        return 1
    parts = ", ".join(f"{part} {len(rows):,}" for part, rows in source.splits.items())
    log.info("%-10s split %s: %s", OK, source.split_name, parts)
    cache = cache_folder(config.cache_root, cache_settings(config.name, source.root, long_side))
    if (cache / INDEX).is_file():
        damaged = damaged_parts(cache)
        log.info("%-10s pixel cache of %d px: %s", WRONG if damaged else OK, long_side, cache)
        if damaged:
            names = ", ".join(f"{number:05d}" for number in damaged)
            log.error("next: delete the parts %s (.json and .bin) of the cache, then run make prepare again", names)
            return 1
    log.info("next: make prepare DATASET=%s%s", config.name, "" if is_standin else f" ROOT={config.root}")
    return 0


if __name__ == "__main__":
    main()
