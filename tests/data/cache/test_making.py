"""Making a pixel cache: whatever happens on the way, no picture is lost, and none gets another's pixels."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flvlp.data.cache import making, parts
from flvlp.data.cache.making import Header, bytes_needed, check_room
from flvlp.data.cache.parts import damaged_parts
from flvlp.data.cache.reading import INDEX, CacheError, PixelCache
from flvlp.data.images import ImageReadError, read_image
from tests.data.cache.pictures import make, write_pictures, wrong_pictures
from tests.processes import group_lives


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_several_processes_make_what_one_makes(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_SMALLEST_PART", 5)
    names = write_pictures(root, 41)
    assert make(folder, root, names, workers=2) == 41
    assert len(PixelCache(folder).entries.parts) == 7  # of 6 pictures, but the last
    assert wrong_pictures(folder, root, names) == []


def test_a_new_picture_joins_the_cache_and_one_that_is_not_asked_for_stays(root: Path, folder: Path) -> None:
    names = write_pictures(root)
    make(folder, root, names[:3])
    assert make(folder, root, names[2:]) == len(names) - 3
    assert wrong_pictures(folder, root, names) == []


def test_an_unreadable_picture_is_kept_as_such_and_raises_what_the_file_would(root: Path, folder: Path) -> None:
    names = write_pictures(root)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    Image.fromarray(noise).save(root / names[1])
    (root / names[1]).write_bytes((root / names[1]).read_bytes()[:2000])
    (root / names[2]).write_bytes(b"no picture")
    make(folder, root, names)
    cache = PixelCache(folder)
    for name in names[1:3]:
        with pytest.raises(ImageReadError) as from_file:
            read_image(root / name)
        with pytest.raises(ImageReadError) as from_cache:
            cache.read(name)
        assert from_cache.value.cause == from_file.value.cause
    assert wrong_pictures(folder, root, [names[0], *names[3:]]) == []


def test_a_picture_that_could_not_be_read_is_tried_again(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write_pictures(root)

    def out_of_memory(path: Path) -> np.ndarray:
        if path.name == names[4]:
            raise ImageReadError(f"{path}: cannot be read", str(path), "MemoryError")
        return read_image(path)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "read_image", out_of_memory)
        make(folder, root, names)
    assert PixelCache(folder).entries.errors[4] == "MemoryError"
    assert make(folder, root, names) == 1
    assert wrong_pictures(folder, root, names) == []


def test_a_full_disk_is_no_unreadable_picture(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = write_pictures(root)

    class Full:
        """A picture whose pixels do not fit on the disk."""

        shape = (4, 4)

        def tobytes(self) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parts, "shrunk", lambda image, side: Full())
        with pytest.raises(OSError, match="No space left"):
            make(folder, root, names)
    assert not (folder / INDEX).exists()
    assert make(folder, root, names) == len(names)
    assert wrong_pictures(folder, root, names) == []


KILLED = """
import sys, time
from pathlib import Path
from flvlp.data.cache import making, parts
from flvlp.data.cache.reading import cache_settings
from flvlp.data.images import read_image
making._SMALLEST_PART = making.LARGEST_PART = 4
def slow(path):  # in the workers too, which import this file
    time.sleep(0.02)
    return read_image(path)
parts.read_image = slow
if __name__ == "__main__":
    root, folder = Path(sys.argv[1]), Path(sys.argv[2])
    names = sorted(path.name for path in root.iterdir())
    headers = dict(zip(names, making.survey(root, names, 2)))
    making.make_cache(folder, cache_settings("pairs", root, 32), root, headers, 2)
"""


@pytest.mark.parametrize("whom", ["the group", "the parent alone"])
def test_after_a_kill_the_same_command_goes_on(root: Path, folder: Path, tmp_path: Path, whom: str) -> None:
    names, script = write_pictures(root, 600), tmp_path / "make.py"
    script.write_text(textwrap.dedent(KILLED))
    process = subprocess.Popen([sys.executable, str(script), str(root), str(folder)], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob("0*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    if whom == "the group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / INDEX).exists(), "the kill came too late to test anything"
    with pytest.raises(FileNotFoundError, match="is not finished"):
        PixelCache(folder)
    assert make(folder, root, names) < len(names), "nothing was kept"
    assert wrong_pictures(folder, root, names) == []
    assert damaged_parts(folder) == []
    deadline = time.monotonic() + 20
    while group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group_lives(process.pid), "workers outlive their parent"


@pytest.mark.parametrize("damage", ["no pixels", "cut pixels", "cut json", "no json"])
def test_a_damaged_part_is_noticed_and_made_again(root: Path, folder: Path, damage: str) -> None:
    names = write_pictures(root)
    make(folder, root, names)
    (pixels,), (record,) = folder.glob("*.bin"), folder.glob("0*.json")
    path = pixels if "pixels" in damage else record
    if damage.startswith("no"):
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-7])
    if "pixels" in damage:
        with pytest.raises(CacheError, match=r"is missing or cut; run `make prepare` again"):
            PixelCache(folder)
    assert make(folder, root, names) == len(names)
    assert wrong_pictures(folder, root, names) == []


def test_changed_pixels_are_found_by_their_sha256(root: Path, folder: Path) -> None:
    make(folder, root, write_pictures(root))
    assert damaged_parts(folder) == []
    (part,) = folder.glob("*.bin")
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert damaged_parts(folder) == [part.stem]


def test_two_processes_do_not_make_the_same_cache(root: Path, folder: Path) -> None:
    names = write_pictures(root)
    folder.mkdir()
    with making._only_one(folder), pytest.raises(RuntimeError, match="another process is making this cache"):
        make(folder, root, names)


def test_no_room_on_the_disk_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"dataset\.cache_root: .* GiB free, the cache needs 1048576\.00"):
        check_room(tmp_path, 1 << 50)
    assert bytes_needed([Header(1000, 500), Header(10, 10), Header(0, 0, "broken")], 100) == 5000 + 100


def test_names_with_odd_characters_are_kept(root: Path, folder: Path) -> None:
    names = [f"a{odd}b.png" for odd in ("\n", " ", "ü", "'", ",", "\t")]
    root.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(np.full((3, 2), number, dtype=np.uint8)).save(root / name)
    make(folder, root, names)
    assert wrong_pictures(folder, root, names) == []
    assert set(json.loads(next(folder.glob("0*.json")).read_text())) == {"sha256", "bytes", "pictures"}


def test_a_clock_that_ran_backwards_hides_no_picture(root: Path, folder: Path) -> None:
    names = write_pictures(root)
    make(folder, root, names)
    (old,) = folder.glob("0*.json")
    os.utime(old, (4e9, 4e9))
    Image.fromarray(np.full((5, 5), 9, dtype=np.uint8)).save(root / names[0])
    assert make(folder, root, names) == 1
    assert wrong_pictures(folder, root, names) == []
    assert make(folder, root, names) == 0


def test_parts_that_nothing_needs_are_deleted_by_the_next_call(root: Path, folder: Path) -> None:
    names = write_pictures(root)
    (root / names[0]).write_bytes(b"no picture")
    for _ in range(4):
        make(folder, root, names)
    assert len(list(folder.glob("0*.json"))) <= 3
    assert len(list(folder.glob("*.bin"))) == len(list(folder.glob("0*.json")))
    assert wrong_pictures(folder, root, names[1:]) == []


@pytest.mark.parametrize("content", ["[]", "{}", '{"bytes": 0}', '{"bytes": 1, "pictures": []}', "null"])
def test_json_of_another_shape_is_no_part(root: Path, folder: Path, content: str) -> None:
    names = write_pictures(root)
    make(folder, root, names)
    (record,) = folder.glob("0*.json")
    record.write_text(content)
    assert make(folder, root, names) == len(names)
    assert wrong_pictures(folder, root, names) == []
