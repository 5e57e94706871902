"""Damaged and hostile files: readers raise what they document, whatever the bytes, and in bounded memory."""

import io
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from flvlp.data.images import ImageReadError, image_size, read_image
from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.pairs import read_pairs
from flvlp.data.reports import compose_report, split_sections
from tests.data.damaged import damaged
from tests.data.dicoms import write_dicom

EXAMPLES = 150
MIB = 2**20


def picture(kind: str) -> bytes:
    """Returns the bytes of a small whole picture."""
    if kind == "dicom":
        with tempfile.TemporaryDirectory() as folder:
            return write_dicom(Path(folder) / "a.dcm").read_bytes()
    buffer = io.BytesIO()
    Image.fromarray(np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)).save(buffer, kind.upper())
    return buffer.getvalue()


WHOLE = {kind: picture(kind) for kind in ("png", "jpeg", "dicom")}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example writes anew."""
    return tmp_path_factory.mktemp("fuzz") / "file"


@pytest.mark.parametrize("suffix", [".png", ".dcm"])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_picture_is_read_or_refused_with_the_one_error_there_is(path: Path, kind: str, suffix: str) -> None:
    file = path.with_suffix(suffix)

    @settings(max_examples=EXAMPLES, deadline=2000)
    @given(content=damaged(WHOLE[kind]) | st.binary(max_size=400))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        for read in (read_image, image_size):
            try:
                read(file)
            except ImageReadError as error:
                assert str(file) in str(error)
                assert str(file) not in error.cause

    check()


def bomb_png(width: int, height: int) -> bytes:
    """Returns a PNG of a few kilobytes whose pixels, all 0, take width * height bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(b"\0" * min(height * (width + 1), 200 * MIB), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


READ = """
import re, sys
from flvlp.data.images import ImageReadError, read_image
def peak():  # of this process alone; that of `resource` also counts the one which started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = peak()
try:
    read_image(sys.argv[1])
except ImageReadError as error:
    print(error)
    sys.exit(3 if peak() - before < 40 * 1024 else 4)
"""


def assert_refused_in_little_memory(path: Path, why: str) -> None:
    """Reads a file in a process of its own, whose peak of memory is not that of other tests."""
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, f"status {done.returncode} (4: more than 40 MiB)\n{done.stderr[-1000:]}"
    assert re.search(why, done.stdout), done.stdout


@pytest.mark.parametrize("size", [(40_000, 40_000), (2**31 - 1, 2**31 - 1), (100_000_000, 1)])
def test_a_decompression_bomb_is_refused_before_it_takes_memory(path: Path, size: tuple[int, int]) -> None:
    path.write_bytes(bomb_png(*size))
    assert_refused_in_little_memory(path, "at most 80,000,000|cannot be read")


def test_a_dicom_that_claims_to_be_huge_is_refused_before_it_takes_memory(path: Path) -> None:
    file = write_dicom(path.with_suffix(".dcm"), Rows=60_000, Columns=60_000)
    assert_refused_in_little_memory(file, "at most 80,000,000")


TABLE = (
    b"Path_frontal,Path_lateral,Report,patient,part,effusion\n"
    b'a.png,,"FINDINGS: clear.\nIMPRESSION: normal.",p1,train,1\n'
    b"a.png,a.png,No effusion.,p2,validation,0\n"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures beside another one that holds pictures of the same names."""
    base = tmp_path_factory.mktemp("tables")
    for folder in ("root", "root/sub", "outside"):
        (base / folder).mkdir()
        (base / folder / "a.png").write_bytes(WHOLE["png"])
    return base / "root"


def pairs(root: Path, content: bytes, **knobs: Any) -> PairsConfig:
    """Writes `table.csv` and returns how it is read."""
    (root / "table.csv").write_bytes(content)
    columns = {"patient_column": "patient", "split_column": "part", "label_columns": ["effusion"]}
    return PairsConfig(**{"name": "pairs", "csv": str(root / "table.csv"), **columns, **knobs})


def outside(root: Path, config: PairsConfig) -> list[str]:
    """Returns the pictures that are read from another folder."""
    return [one for one in read_pairs(config).views() if not Path(one).resolve().is_relative_to(root.resolve())]


def test_a_table_is_read_or_refused_with_an_error_that_is_documented(root: Path) -> None:
    @settings(max_examples=EXAMPLES, deadline=2000)
    @given(content=damaged(TABLE) | st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def check(content: bytes) -> None:
        try:
            assert not outside(root, pairs(root, content))
        except (FileNotFoundError, ValueError) as error:
            assert "table.csv" in str(error) or "dataset." in str(error), repr(error)

    check()


def test_a_path_leads_to_a_file_under_the_root_or_is_refused_with_its_row_and_the_key(root: Path) -> None:
    left: list[str] = []
    refused: list[str] = []
    pieces = st.sampled_from(["..", ".", "", "a.png", "sub", "root", "outside", str(root), str(root.parent)])

    @settings(max_examples=EXAMPLES, deadline=2000)
    @example(path=f"{root.parent}/outside/a.png", column=0)
    @example(path=f"{root}/sub/../../outside/a.png", column=1)
    @example(path="sub/../../outside/a.png", column=0)
    @given(path=st.lists(pieces, min_size=1, max_size=6).map("/".join), column=st.sampled_from([0, 1]))
    def check(path: str, column: int) -> None:
        views = ["a.png", ""]
        views[column] = path
        content = f"Path_frontal,Path_lateral,Report\na.png,,clear\n{','.join(views)},clear\n".encode()
        knobs = {"missing_images": "drop", "patient_column": "", "split_column": "", "label_columns": []}
        config = pairs(root, content, validation_fraction=0.0, **knobs)
        try:
            assert not outside(root, config), f"{path} leaves {root}"
        except ValueError as error:
            if not path:
                assert "blank 'Path_frontal'" in str(error)
                return
            assert "outside the root in 1 row: row 3 (" in str(error), error
            assert "dataset.outside_root=true" in str(error), error
            refused.append(path)
            if path.startswith("/"):
                left.extend(outside(root, replace(config, outside_root=True)))

    check()
    assert len(set(left)) >= 2, f"the examples could not lead out: {left}"
    assert "sub/../../outside/a.png" in refused


@settings(max_examples=EXAMPLES, deadline=1000)
@given(text=st.text(max_size=400) | st.text("FINDGSIMPRESON:_X[]* \n.()-/", max_size=400))
def test_any_text_is_a_report(text: str) -> None:
    for policy in ("both", "impression", "findings", "longer"):
        composed = compose_report(split_sections(text), policy)
        assert composed == " ".join(composed.split())


@pytest.fixture(autouse=True)
def _no_limit_of_pillow() -> Iterator[None]:
    """Pillow's own guard must not be what refuses: another library may switch it off."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    yield
    Image.MAX_IMAGE_PIXELS = before
