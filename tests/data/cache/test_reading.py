"""Reading a pixel cache: the same pixels as from the files, never stale, shared."""

import ast
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import flvlp.data
from flvlp.data.cache import reading
from flvlp.data.cache.reading import CODE, INDEX, CacheError, PixelCache, cache_folder, cache_settings, use_cache
from flvlp.data.images import read_image
from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.tree import Tree
from flvlp.data.splits.making import Split
from flvlp.data.transforms import fit_square
from tests.data.cache.pictures import SIDE, SIZES, make, write_pictures, wrong_pictures


def source_of(root: Path, names: list[str], cache_root: Path, cache: str = "auto") -> tuple[FileSource, PairsConfig]:
    config = PairsConfig(name="pairs", cache_root=str(cache_root), cache=cache)
    listing = list_studies(config, root / "table", [Record(name, name, (name,)) for name in names], Tree(root))
    return FileSource(root, listing, Split("pairs/patient", {"train": np.arange(len(names))})), config


def folder_of(config: PairsConfig, root: Path) -> Path:
    return cache_folder(config.cache_root, cache_settings("pairs", root, SIDE))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def test_training_from_the_cache_gives_the_same_pixels_as_from_the_files(root: Path, tmp_path: Path) -> None:
    names = write_pictures(root)
    source, config = source_of(root, names, tmp_path / "cache", cache="require")
    from_files = [fit_square(source.frontal(index), SIDE) for index in range(len(names))]
    make(folder_of(config, root), root, names)
    use_cache(source, config, SIDE)
    for path in root.iterdir():
        path.unlink()  # nothing but the cache is left to read from
    for index, expected in enumerate(from_files):
        assert np.array_equal(fit_square(source.frontal(index), SIDE), expected), f"{SIZES[index]} differs"


def test_a_worker_gets_the_cache_without_its_pixels(root: Path, tmp_path: Path) -> None:
    names = write_pictures(root)
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


def test_every_file_that_decides_about_a_pixel_is_in_the_key() -> None:
    package = Path(flvlp.data.__file__).parent
    for name in CODE:
        nodes = ast.walk(ast.parse((package / name).read_text()))
        imported = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        ours = {f"{module.removeprefix('flvlp.data.')}.py" for module in imported if module.startswith("flvlp.")}
        assert ours <= set(CODE), f"{name} imports {ours - set(CODE)}, whose code the cache's key does not cover"


def test_without_a_cache_auto_decodes_and_require_stops(root: Path, tmp_path: Path) -> None:
    names = write_pictures(root)
    source, config = source_of(root, names, tmp_path / "cache")
    use_cache(source, config, SIDE)
    assert np.array_equal(source.frontal(0), read_image(root / names[0]))
    source, config = source_of(root, names, tmp_path / "cache", cache="require")
    with pytest.raises(FileNotFoundError, match=r"dataset\.cache: .* was not made; run `make prepare`"):
        use_cache(source, config, SIDE)
    make(folder_of(config, root), root, names[:-1])
    with pytest.raises(FileNotFoundError, match=r"dataset\.cache: 1 pictures are not in the cache"):
        use_cache(source, config, SIDE)


def test_a_file_changed_since_is_noticed_among_many_and_made_again(root: Path, tmp_path: Path) -> None:
    names = write_pictures(root, 300)
    source, config = source_of(root, names, tmp_path / "cache")
    folder = folder_of(config, root)
    assert make(folder, root, names) == len(names)
    assert make(folder, root, names) == 0
    Image.fromarray(np.full((8, 9), 77, dtype=np.uint8)).save(root / names[201])
    with pytest.raises(CacheError, match="1 of 300 files were changed since the cache was made"):
        use_cache(source, config, SIDE)
    assert make(folder, root, names) == 1
    use_cache(source, config, SIDE)
    assert source.frontal(201).tolist() == [[77] * 9] * 8


def test_a_damaged_index_is_an_error_that_says_what_to_do(root: Path, tmp_path: Path) -> None:
    make(tmp_path / "cache", root, write_pictures(root))
    index = tmp_path / "cache" / INDEX
    index.write_bytes(index.read_bytes()[:-30])
    with pytest.raises(CacheError, match=r"is damaged .*; run `make prepare` again"):
        PixelCache(tmp_path / "cache")


def test_more_parts_than_files_may_be_open_are_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MAPS", 8)
    names = write_pictures(root, 60)
    for name in names:
        make(tmp_path / "cache", root, [name])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 24, hard))
    try:
        assert wrong_pictures(tmp_path / "cache", root, names) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(PixelCache(tmp_path / "cache").entries.parts) == 60
