"""Rows about reading: the pixel cache, waiting for data, and the start-up of a large data set."""

import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.benchmarking.contenders import Contender, compete, memory_gib
from support.benchmarking.rows import Figure, Row, Settings
from support.benchmarking.steps import Workload, make_training

if TYPE_CHECKING:
    from flvlp.data.readers.files import FileSource

PICTURES = 4  # of full size; made in seconds
READS = 40  # of the cache in a turn, for each of a file
STEPS = 5  # of the training that may wait for batches, the first one left out
FOLDERS = 400  # that the pictures of a listed data set lie in
REPORT = "IMPRESSION: No acute disease. FINDINGS: The lungs are clear. The heart is of normal size."


def cache_row(settings: Settings) -> Row:
    """Pictures from the pixel cache beside those decoded from JPEG files of full size, by one process each."""
    side, crop = settings.paper.encoder.resize, settings.paper.encoder.crop
    with tempfile.TemporaryDirectory(prefix="flvlp-benchmark-") as folder:
        make_pictures(Path(folder), settings.picture, side)
        arguments = [folder, side, crop]
        with (
            Contender(read_pictures, [*arguments, "off", 1], threads=1) as files,
            Contender(read_pictures, [*arguments, "require", READS], threads=1) as cached,
        ):
            plain, ours = compete([files, cached], settings.turns)
    rates = PICTURES / plain.median, PICTURES * READS / ours.median
    height, width = settings.picture
    what = (
        f"crops of {crop} px from the cache ({rates[1]:.0f}/s) beside JPEG files of {width} x {height} px "
        f"({rates[0]:.0f}/s)"
    )
    pairs = [READS * one / other for one, other in zip(plain.seconds, ours.seconds, strict=True)]
    speed = Figure("cache / JPEG", rates[1] / rates[0], ">= 40", f"{min(pairs):.0f}-{max(pairs):.0f}")
    return Row("cache", what, [speed])


def make_pictures(folder: Path, shape: tuple[int, int], side: int) -> None:
    """Writes JPEG files of phantoms blown up to `shape` (height, width) with grain, their table, and their cache."""
    import torch
    from torchvision.io import write_jpeg

    from flvlp.data.cache.making import make_cache, survey
    from flvlp.data.cache.reading import cache_folder, cache_settings
    from flvlp.data.phantom.source import PhantomSource
    from flvlp.data.readers.config import PhantomConfig
    from flvlp.data.readers.pairs import read_pairs

    phantoms = PhantomSource(PhantomConfig(root=str(folder / "phantom"), studies=PICTURES, size=256, workers=1))
    generator = torch.Generator().manual_seed(0)
    for number in range(PICTURES):
        small = torch.from_numpy(phantoms.frontal(number).copy()).float()[None, None]
        large = torch.nn.functional.interpolate(small, size=shape, mode="bicubic")[0]
        grain = 4 * torch.randn(large.shape, generator=generator)
        write_jpeg((large + grain).clamp(0, 255).to(torch.uint8), str(folder / f"{number}.jpg"), quality=95)
    write_table(folder, [(f"{number}.jpg", "") for number in range(PICTURES)])
    config = table_config(folder, "off")
    source = read_pairs(config)
    kept = cache_settings(config.name, source.root, side)
    headers = dict(zip(source.views(), survey(source.root, source.views(), workers=1), strict=True))
    make_cache(cache_folder(config.cache_root, kept), kept, source.root, headers, workers=1)


def write_table(folder: Path, rows: list[tuple[str, str]]) -> None:
    """Writes `studies.csv` with the frontal and lateral path of each study."""
    with (folder / "studies.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Path_frontal", "Path_lateral", "Report"])
        writer.writerows((*views, REPORT) for views in rows)


def table_config(folder: str | Path, cache: str) -> Any:
    """Returns the configuration that reads what `write_table` wrote."""
    from flvlp.data.readers.config import PairsConfig

    root = Path(folder)
    return PairsConfig(name="pairs", csv=str(root / "studies.csv"), cache=cache, cache_root=str(root / "cache"))


def open_table(folder: str, side: int, cache: str) -> "FileSource":
    """Opens the data set as every entry point does."""
    from support.inputs import read_source

    source: Any = read_source(table_config(folder, cache), side, needs_reports=True)
    return source


def read_pictures(folder: str, side: int, crop: int, cache: str, times: int) -> Callable[[], None]:
    """Makes the reading of every picture `times` over, to its crop."""
    import numpy as np

    from flvlp.data.config import ImageConfig
    from flvlp.data.transforms import crop_view

    source, image, generator = open_table(folder, side, cache), ImageConfig(side, crop), np.random.default_rng(0)

    def run() -> None:
        for _ in range(times):
            for index in range(len(source.studies)):
                crop_view(source.frontal(index), image, generator).copy()

    return run


def wait_row(settings: Settings) -> Row:
    """The share of the paper-size training that waits for data: with two reading processes, and with none."""
    with tempfile.TemporaryDirectory(prefix="flvlp-benchmark-") as folder:
        shares = []
        for workers in (0, 2):
            arguments = [settings.paper, folder, STEPS * settings.paper.batch_size, workers]
            with Contender(measure_wait, arguments, settings.all_threads) as contender:
                shares.append(float(contender.turn()["returned"]))
    what = f"waiting for batches with two workers; reading in the training process itself takes {shares[0]:.1%}"
    return Row("data_wait", what, [Figure("share of waiting", shares[1], "<= 0.02")])


def measure_wait(workload: Workload, folder: str, studies: int, workers: int) -> Callable[[], float]:
    """Makes the measurement of `wait_row`: (seconds of waiting) / (seconds of training), the first batch left out."""
    from flvlp.data.config import ImageConfig, MaskingConfig
    from flvlp.data.loaders import Loaders
    from flvlp.data.phantom.source import PhantomSource
    from flvlp.data.readers.config import PhantomConfig
    from flvlp.data.tokenizer import train_tokenizer
    from support.benchmarking.rows import timed_step

    side, text = workload.encoder.resize, workload.encoder.text
    source = PhantomSource(PhantomConfig(root=f"{folder}/phantom", studies=studies, size=side, validation_fraction=0.0))
    tokenizer = train_tokenizer([one.report for one in source.studies], 1500, text.max_tokens, credentialed=False)
    loaders = Loaders(
        source,
        tokenizer,
        MaskingConfig(),
        ImageConfig(side, workload.encoder.crop),
        seed=0,
        on_error="raise",
        with_lateral=True,
        batch_size=workload.batch_size,
        num_workers=workers,
        rank=0,
        world_size=1,
    )
    training = make_training(workload, "auto")
    batches, sampler = loaders.training(1, None)

    def run() -> float:
        sampler.start(0)
        iterator, waiting, start = iter(batches), 0.0, 0.0
        for number in range(sampler.steps):
            asked = time.perf_counter()
            batch = next(iterator)
            if number:
                waiting += time.perf_counter() - asked
            timed_step(training, batch)
            start = start or time.perf_counter()
        return waiting / (time.perf_counter() - start)

    return run


def listing_row(settings: Settings) -> Row:
    """Start-up with a large data set: reading the table, and looking which pictures are there."""
    found = []
    for files in (settings.files // 4, settings.files):
        with tempfile.TemporaryDirectory(prefix="flvlp-benchmark-") as folder:
            make_files(Path(folder), files)
            with Contender(measure_listing, [folder], settings.all_threads) as contender:
                found.append(contender.turn())
    seconds, memory = ([one["returned"][key] for one in found] for key in ("seconds", "gib"))
    a_study = memory[1] / settings.files * 2**30
    what = (
        f"opening {settings.files:,} studies with a frontal each, a third with a lateral: {seconds[1]:.2f} s, "
        f"{memory[1]:.2f} GiB ({a_study:.0f} bytes a study); a quarter of them: {seconds[0]:.2f} s"
    )
    figures = [
        Figure("seconds", seconds[1], "<= 10"),
        Figure("memory of a study, all / a quarter", memory[1] / memory[0] / 4, "<= 1.2"),
    ]
    return Row("listing", what, figures)


def make_files(folder: Path, studies: int) -> None:
    """Writes empty files and their table: nothing is decoded when a data set is opened."""
    rows = []
    for number in range(studies):
        place = f"{number % FOLDERS:03d}"
        names = [f"{place}/{number}-{view}.jpg" for view in ("f", "l")[: 1 + (number % 3 == 0)]]
        if number < FOLDERS:
            (folder / place).mkdir()
        for name in names:
            (folder / name).touch()
        rows.append((names[0], names[1] if len(names) > 1 else ""))
    write_table(folder, rows)


def measure_listing(folder: str) -> Callable[[], dict[str, float]]:
    """Makes the measurement of `listing_row`."""
    import flvlp.data.readers.pairs  # noqa: F401 (pandas: not what is measured)

    def run() -> dict[str, float]:
        before, start = memory_gib("VmRSS"), time.perf_counter()
        source = open_table(folder, 256, "auto")
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "gib": memory_gib("VmRSS") - before, "studies": len(source.studies)}

    return run
