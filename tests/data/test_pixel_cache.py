"""The pixel cache: the same pixels as from the files, never stale, shared and restartable."""

import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flvlp.data import cache_making
from flvlp.data.cache_making import Header, check_room, damaged_parts, make_cache, survey
from flvlp.data.images import ImageReadError, read_image
from flvlp.data.pixel_cache import INDEX, PixelCache, cache_folder, cache_settings, use_cache
from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.tree import Tree
from flvlp.data.splits.making import Split
from flvlp.data.transforms import fit_square

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


def source_of(root: Path, names: list[str], cache_root: Path, cache: str = "auto") -> tuple[FileSource, PairsConfig]:
    config = PairsConfig(name="pairs", cache_root=str(cache_root), cache=cache)
    listing = list_studies(config, root / "table", [Record(name, name, (name,)) for name in names], Tree(root))
    return FileSource(root, listing, Split("pairs/patient", {"train": np.arange(len(names))})), config


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, list[str]]:
    root = tmp_path / "pictures"
    return root, write_pictures(root)


def test_training_from_the_cache_gives_the_same_pixels_as_from_the_files(
    pictures: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, names = pictures
    source, config = source_of(root, names, tmp_path / "cache", cache="require")
    from_files = [fit_square(source.frontal(index), SIDE) for index in range(len(names))]
    make(cache_folder(config.cache_root, cache_settings("pairs", root, SIDE)), root, names)
    use_cache(source, config, SIDE)
    for path in root.iterdir():
        path.unlink()  # nothing but the cache is left to read from
    for index, expected in enumerate(from_files):
        assert np.array_equal(fit_square(source.frontal(index), SIDE), expected), f"{SIZES[index]} differs"


def test_a_worker_gets_the_cache_without_its_pixels(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, names = pictures
    make(tmp_path / "cache", root, names)
    cache = PixelCache(tmp_path / "cache")
    first = cache.read(names[1])
    copy = pickle.loads(pickle.dumps(cache))
    assert len(pickle.dumps(cache)) < 5000
    assert np.array_equal(copy.read(names[1]), first)


def test_another_setting_is_another_folder() -> None:
    folders = {
        cache_folder("cache", cache_settings(name, Path(root), side))
        for name in ("siim", "rsna")
        for root in ("/a", "/b")
        for side in (256, 512)
    }
    assert len(folders) == 8


def test_without_a_cache_auto_decodes_and_require_stops(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, names = pictures
    source, config = source_of(root, names, tmp_path / "cache")
    use_cache(source, config, SIDE)
    assert np.array_equal(source.frontal(0), read_image(root / names[0]))
    source, config = source_of(root, names, tmp_path / "cache", cache="require")
    with pytest.raises(FileNotFoundError, match=r"dataset\.cache: .*not finished.*make prepare"):
        use_cache(source, config, SIDE)


def test_a_file_changed_since_is_noticed_and_made_again(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, names = pictures
    source, config = source_of(root, names, tmp_path / "cache")
    folder = cache_folder(config.cache_root, cache_settings("pairs", root, SIDE))
    assert make(folder, root, names) == len(names)
    assert make(folder, root, names) == 0
    Image.fromarray(np.full((8, 9), 77, dtype=np.uint8)).save(root / names[2])
    with pytest.raises(ValueError, match="1 of 64 files looked at were changed"):
        use_cache(source, config, SIDE)
    assert make(folder, root, names) == 1
    use_cache(source, config, SIDE)
    assert source.frontal(2).tolist() == [[77] * 9] * 8


def test_a_new_picture_joins_the_cache(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, names = pictures
    make(tmp_path / "cache", root, names[:3])
    assert make(tmp_path / "cache", root, names) == len(names) - 3
    assert PixelCache(tmp_path / "cache").entries.names == names


def test_an_unreadable_picture_is_kept_as_such_and_raises_what_the_file_would(tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "pictures")
    broken = tmp_path / "pictures" / names[1]
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:2000])
    (tmp_path / "pictures" / names[2]).write_bytes(b"no picture")
    make(tmp_path / "cache", tmp_path / "pictures", names, workers=2)
    cache = PixelCache(tmp_path / "cache")
    for name in names[1:3]:
        with pytest.raises(ImageReadError) as from_file:
            read_image(tmp_path / "pictures" / name)
        with pytest.raises(ImageReadError) as from_cache:
            cache.read(name)
        assert from_cache.value.cause == from_file.value.cause
    assert np.array_equal(cache.read(names[4]), read_image(tmp_path / "pictures" / names[4]))
    with pytest.raises(ImageReadError, match=r"other\.png: is not in the pixel cache"):
        cache.read("other.png")


def test_damage_is_found_by_its_sha256(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    make(tmp_path / "cache", *pictures)
    assert damaged_parts(tmp_path / "cache") == []
    part = tmp_path / "cache" / "00000.bin"
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert damaged_parts(tmp_path / "cache") == [0]


KILLED = """
import sys
from pathlib import Path
from flvlp.data import cache_making
from flvlp.data.pixel_cache import cache_settings
cache_making.PART = 4
if __name__ == "__main__":
    root, folder = Path(sys.argv[1]), Path(sys.argv[2])
    names = sorted(path.name for path in root.iterdir())
    headers = dict(zip(names, cache_making.survey(root, names, 2)))
    cache_making.make_cache(folder, cache_settings("pairs", root, 32), root, headers, 2)
"""


def test_after_a_kill_the_same_command_goes_on(tmp_path: Path) -> None:
    root, folder, script = tmp_path / "pictures", tmp_path / "cache", tmp_path / "make.py"
    names = write_pictures(root, 400)
    script.write_text(textwrap.dedent(KILLED))
    process = subprocess.Popen([sys.executable, str(script), str(root), str(folder)], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob("0*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=True)
    assert process.wait() == -signal.SIGKILL
    if not (folder / INDEX).is_file():  # killed before it was done
        with pytest.raises(FileNotFoundError, match="not finished"):
            PixelCache(folder)
    decoded = make(folder, root, names)
    assert decoded < len(names), "nothing was kept"
    cache = PixelCache(folder)
    assert all(
        np.array_equal(fit_square(cache.read(name), SIDE), fit_square(read_image(root / name), SIDE)) for name in names
    )
    assert not list(folder.glob(".*.tmp"))
    assert damaged_parts(folder) == []


def test_two_processes_do_not_make_the_same_cache(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    with (
        cache_making._only_one(folder),
        pytest.raises(RuntimeError, match="another process is making this cache"),
    ):
        make(folder, *pictures)


def test_no_room_on_the_disk_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"dataset\.cache_root: .* GiB free, the cache needs 1024\.00"):
        check_room(tmp_path, 1 << 40)
    assert cache_making.bytes_needed([Header(1000, 500), Header(10, 10), Header(0, 0, "broken")], 100) == 5000 + 100
