"""Small pictures on disk, and a cache of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from flvlp.data.cache.making import make_cache, survey
from flvlp.data.cache.reading import PixelCache, cache_settings
from flvlp.data.images import read_image
from flvlp.data.scaling import scaled

SIDE = 32
SIZES = ((40, 30), (64, 64), (20, 10), (33, 32), (32, 20), (1, 1), (90, 7))


def write_pictures(folder: Path, count: int = 7) -> list[str]:
    """Pictures of many sizes, smaller and larger than the cache's; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, SIZES[number % len(SIZES)], dtype=np.uint8)
        names.append(f"{number:03d}.png")
        Image.fromarray(noise).save(folder / names[-1])
    return names


def make(folder: Path, root: Path, names: list[str], workers: int = 1) -> int:
    """Makes the cache and returns how many pictures were decoded for it."""
    headers = dict(zip(names, survey(root, names, workers), strict=True))
    return make_cache(folder, cache_settings("pairs", root, SIDE), root, headers, workers)[1]


def wrong_pictures(folder: Path, root: Path, names: list[str]) -> list[str]:
    """The names whose pixels in the cache are not those of the file."""
    cache = PixelCache(folder)
    return [
        name
        for name in names
        if not np.array_equal(scaled(cache.read(name), SIDE), scaled(read_image(root / name), SIDE))
    ]
