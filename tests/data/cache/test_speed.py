"""What the pixel cache is for: the loader reads from it many times faster than it decodes published pictures."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flvlp.data.cache.making import make_cache, survey
from flvlp.data.cache.reading import cache_folder, cache_settings, use_cache
from flvlp.data.config import ImageConfig, MaskingConfig
from flvlp.data.dataset import Collator, StudyDataset
from flvlp.data.phantom.making import make_study, plan_studies
from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.tree import Tree
from flvlp.data.splits.making import Split
from tests.builders import make_tokenizer

STUDIES, SIDE = 24, 256
PUBLISHED = (2544, 3056)  # width, height of most MIMIC-CXR-JPG pictures


def written(root: Path) -> list[Record]:
    """Writes phantoms in the published size as JPEG, with film grain, so that they are as hard to decode as films."""
    records = []
    for plan in plan_studies(STUDIES, seed=5):
        small = Image.fromarray(make_study(plan, seed=5, size=SIDE).frontal).resize(PUBLISHED, Image.Resampling.BICUBIC)
        grain = np.random.default_rng(plan.index).normal(0, 4, PUBLISHED[::-1])
        picture = np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8)
        name = f"{plan.index}.jpg"
        Image.fromarray(picture).save(root / name, quality=95)
        records.append(Record(name, name, (name,), report="Normal."))
    return records


@pytest.mark.slow
def test_the_loader_reads_the_cache_at_least_40_times_faster_than_it_decodes(tmp_path: Path) -> None:
    records = written(tmp_path)
    config = PairsConfig(name="pairs", cache_root=str(tmp_path / "cache"))
    listing = list_studies(config, tmp_path / "table", records, Tree(tmp_path))
    source = FileSource(tmp_path, listing, Split("pairs/patient", {"train": np.arange(STUDIES)}))
    tokenizer = make_tokenizer()
    data = StudyDataset(
        source, tokenizer, MaskingConfig(), ImageConfig(SIDE, 224), seed=0, is_training=True, on_error="raise"
    )
    collate = Collator(tokenizer.pad_id, 224)

    def seconds(epochs: int) -> float:
        start = time.perf_counter()
        for epoch in range(epochs):
            collate([data[epoch, index] for index in range(STUDIES)])
        return (time.perf_counter() - start) / epochs / STUDIES

    from_files = seconds(1)
    names = listing.frontal_paths
    settings = cache_settings("pairs", tmp_path, SIDE)
    headers = dict(zip(names, survey(tmp_path, names, 1), strict=True))
    start = time.perf_counter()
    make_cache(cache_folder(config.cache_root, settings), settings, tmp_path, headers, workers=1)
    rate = STUDIES / (time.perf_counter() - start)
    use_cache(source, config, SIDE)
    from_cache = seconds(20)
    print(f"\nfiles {from_files * 1e3:.1f} ms, cache {from_cache * 1e3:.3f} ms a study: {from_files / from_cache:.0f}x")
    print(f"the cache was made at {rate:.1f} pictures a second and process")
    assert from_files / from_cache >= 40
