"""Check a data set as its publisher ships it, count it, and decode its pictures once into a pixel cache.

python experiments/prepare.py dataset=nih14 dataset.root=/data/nih                    # counts, then the cache
python experiments/prepare.py dataset=nih14 dataset.root=/data/nih action=dry_run     # counts only
python experiments/prepare.py dataset=nih14 dataset.root=/data/nih action=doctor      # what is there, what is missing
python experiments/prepare.py dataset=mimic_cxr dataset.root=/data/mimic long_side=512 workers=32
"""

import logging
import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from flvlp.checks import SEEDS, check_choice, check_fields, check_range
from flvlp.data.readers.base_config import DatasetConfig, FilesConfig, PublishedConfig
from support.entry import typed

if TYPE_CHECKING:
    from flvlp.data.cache.making import Header
    from flvlp.data.readers.files import FileSource

log = logging.getLogger(__name__)

UNREADABLE = "unreadable.txt"
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
        check_fields(self, "", "[1, inf)", "long_side")
        check_fields(self, "", "[0, inf)", "workers")
        for fraction in self.fractions:
            check_range("fractions", fraction, "(0, 1]")
        for seed in self.fraction_seeds:
            check_range("fraction_seeds", seed, SEEDS)


@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Composes the configuration and does what `action` says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    args = typed(Args, cfg)
    if not isinstance(args.dataset, FilesConfig):
        raise ValueError(  # noqa: TRY004 (the user gave a value, not a type)
            f"dataset: {args.dataset.name} is made on the spot and needs no preparation; choose a data set of files"
        )
    workers = args.workers or len(os.sched_getaffinity(0))
    if args.action == "doctor":
        raise SystemExit(doctor(args.dataset, args.long_side))
    source = read(args.dataset)
    headers = survey(source, workers, args.dataset)
    if args.action == "prepare":
        prepare(args, source, headers, workers)


def read(config: DatasetConfig) -> "FileSource":
    """Lists the studies of a data set of files."""
    from flvlp.data.readers.build import build_source
    from flvlp.data.readers.files import FileSource

    source = build_source(config)
    assert isinstance(source, FileSource)
    return source


def survey(source: "FileSource", workers: int, config: FilesConfig) -> "dict[str, Header]":
    """The dry run: reads every header, prints the counts of each part and what cannot be read."""
    from flvlp.data.cache import making as cache_making
    from flvlp.data.summary import count_parts, table_of

    names = source.views()
    headers = dict(zip(names, cache_making.survey(source.root, names, workers), strict=True))
    errors = {name: header.error for name, header in headers.items()}
    log.info("%s, split %s", config.name, source.split_name)
    log.info("%s", table_of(count_parts(source, errors)))
    incomplete = ", ".join(f"{count} {what}" for what, count in source.listing.incomplete.items() if count)
    if incomplete:
        log.info("of the studies above: %s", incomplete)
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
    from flvlp.data.cache.making import bytes_needed, make_cache
    from flvlp.data.cache.reading import cache_folder, cache_settings
    from flvlp.data.splits.writing import write_lists

    settings = cache_settings(args.dataset.name, source.root, args.long_side)
    folder = cache_folder(args.dataset.cache_root, settings)
    size = bytes_needed(list(headers.values()), args.long_side)
    log.info("cache: %s (%.2f GiB)", folder, size / 2**30)
    start = time.monotonic()
    entries, made, processes = make_cache(folder, settings, source.root, headers, workers)
    seconds = time.monotonic() - start
    if made:
        rate = made / seconds / processes
        log.info("%d pictures decoded in %.1f s: %.1f a second and process (%d)", made, seconds, rate, processes)
    failed = warn_unreadable(dict(zip(entries.names, entries.errors, strict=True)), source.hides_ids)
    report = folder / UNREADABLE
    report.write_text("".join(f"{name}: {error}\n" for name, error in failed.items()))
    if failed:
        log.warning(
            "%d pictures cannot be read (%s); training stops at them, or leaves them out (dataset.on_error=skip)",
            *(len(failed), report),
        )
    lists, content = write_lists(folder / "splits", source, args.fractions, args.fraction_seeds)
    for name, entry in content["lists"].items():
        log.info("%-22s %8d studies  sha256 %s", name, entry["studies"], entry["sha256"][:12])
    log.info("lists: %s", lists)


def doctor(config: FilesConfig, long_side: int) -> int:
    """Prints what is there and what is missing, tries to read it, checks the cache; returns the exit status."""
    from flvlp.data.doctor import MISSING, OK, WRONG, examine
    from flvlp.data.readers.build import READERS, on_disk
    from flvlp.data.readers.tables import hides_ids

    if isinstance(config, PublishedConfig):
        found = on_disk(config)
        if not Path(found.root).is_dir():
            log.error(
                "no such folder: %s\nnext: set ROOT to the download of %s (docs/data.md)", found.root, config.name
            )
            return 1
        checks = examine(Path(found.root), READERS[config.name][1](found), hides_ids(config))
        for check in checks:
            log.info("%-10s %s: %s", check.state, check.what, check.seen)
        what_to_do = {MISSING: "add", WRONG: "correct"}
        steps = [
            f"{what_to_do[check.state]} {check.what} ({check.seen})" for check in checks if check.state in what_to_do
        ]
        if steps:
            log.error("next: %s", "; ".join(steps))
            return 1
    try:
        source = read(config)
    except (ValueError, OSError) as error:
        log.error("%-10s tables and pictures do not fit together\nnext: %s", WRONG, error)  # noqa: TRY400
        return 1
    parts = ", ".join(f"{part} {len(rows):,}" for part, rows in source.splits.items())
    log.info("%-10s split %s: %s", OK, source.split_name, parts)
    return check_cache(config, source, long_side)


def check_cache(config: FilesConfig, source: "FileSource", long_side: int) -> int:
    """Says of the pixel cache of this size whether it is there, whole and true, and what to do next."""
    from flvlp.data.cache.parts import damaged_parts
    from flvlp.data.cache.reading import CacheError, PixelCache, cache_folder, cache_settings
    from flvlp.data.doctor import OK, OPTIONAL, WRONG

    command = shlex.join(["python", *sys.argv[:1], *(word for word in sys.argv[1:] if not word.startswith("action="))])
    folder = cache_folder(config.cache_root, cache_settings(config.name, source.root, long_side))
    try:
        cache = PixelCache(folder)
    except FileNotFoundError:
        log.info("%-10s pixel cache of %d px: %s\nnext: %s", OPTIONAL, long_side, folder, command)
        return 0
    except CacheError as error:
        log.error("%-10s pixel cache: %s\nnext: %s", WRONG, error, command)  # noqa: TRY400
        return 1
    damaged = damaged_parts(folder)
    if damaged:
        log.error("%-10s pixel cache: the pixels of %s are not those that were written", WRONG, ", ".join(damaged))
        log.error("next: delete these .bin files in %s, then %s", folder, command)
        return 1
    stale = len(cache.changed_files(source.root)) + sum(name not in cache for name in source.views())
    unreadable = sum(map(bool, cache.entries.errors))
    state = f"{len(cache.entries.names)} pictures, {unreadable} unreadable, {stale} new or changed since"
    log.info("%-10s pixel cache of %d px: %s (%s)", WRONG if stale else OK, long_side, folder, state)
    log.info("next: %s", command if stale else f"train with encoder.resize={long_side}")
    return int(stale > 0)


if __name__ == "__main__":
    main()
