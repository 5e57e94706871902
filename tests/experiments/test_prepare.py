"""`experiments/prepare.py` as a user runs it: counts, cache, id lists, doctor; on stand-ins and on damaged trees."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.conftest import ROOT, TWO_PROCESSES, Done, Run, environment
from tests.data.dicoms import write_dicom
from tests.warm import run_entry

PREPARE = str(ROOT / "experiments" / "prepare.py")
STANDIN = ("dataset.standin_studies=60", "dataset.standin_size=64", "long_side=48", "workers=2")
Command = Callable[..., Done]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which stand-ins and caches are made once for this file."""
    return tmp_path_factory.mktemp("prepare")


@pytest.fixture
def prepare(folder: Path) -> Command:
    def run_prepare(*arguments: str) -> Done:
        command = [sys.executable, PREPARE, *STANDIN, *arguments]
        return run_entry(command, folder, environment())

    return run_prepare


@pytest.fixture
def nih(prepare: Command, folder: Path, tmp_path: Path) -> Path:
    """A copy of the NIH stand-in that may be damaged."""
    made = list((folder / "cache" / "standin").glob("nih14-*"))
    if not made:
        assert prepare("dataset=nih14", "action=dry_run").returncode == 0
        made = list((folder / "cache" / "standin").glob("nih14-*"))
    shutil.copytree(made[0], tmp_path / "nih")
    return tmp_path / "nih"


def test_counts_cache_and_lists_of_a_stand_in(prepare: Command, folder: Path) -> None:
    done = prepare("dataset=nih14")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "split nih14/official@phantom" in done.stderr
    assert "60 pictures decoded" in done.stderr
    (cache,) = (folder / "cache" / "pixels").glob("nih14-48px-*")
    (lists,) = (cache / "splits").glob("nih14-official@phantom-*")
    content = json.loads((lists / "split.json").read_text())
    ids = {part: (lists / f"{part}.txt").read_text().split() for part in ("train", "validation", "test")}
    assert sum(map(len, ids.values())) == 60 == len(set().union(*ids.values()))
    assert content["lists"]["train"]["studies"] == len(ids["train"])
    tenth, hundredth = ((lists / f"train-{name}-seed0.txt").read_text().split() for name in ("0.1", "0.01"))
    assert set(hundredth) <= set(tenth) <= set(ids["train"])
    again = prepare("dataset=nih14")
    assert "60 of 60 pictures are there from an earlier start" in again.stderr
    assert "decoded" not in again.stderr
    assert not (folder / "prepare.log").exists()


def test_a_dry_run_counts_and_makes_nothing(prepare: Command, folder: Path) -> None:
    done = prepare("dataset=chexpert", "action=dry_run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "pairs" in done.stderr
    assert not list((folder / "cache" / "pixels").glob("chexpert-*"))


@pytest.mark.slow
def test_two_ranks_and_their_workers_read_the_cache_of_their_size(prepare: Command, folder: Path, run: Run) -> None:
    assert prepare("dataset=iu_xray", "long_side=64").returncode == 0
    overrides = ("dataset=iu_xray", *STANDIN[:2], "dataset.cache=require", "engine.max_steps=1", "engine.batch_size=4")
    workers = "engine.num_workers=1"
    done = run(*overrides, workers, f"hydra.run.dir={folder / 'run'}", cwd=folder, launcher=TWO_PROCESSES)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "pixels come from the cache" in done.stderr
    assert "iu_xray/patient-70-10-20@phantom" in done.stderr
    resumed = (f"resume={folder / 'run'}", "dataset=iu_xray", "dataset.cache=off", "engine.max_steps=2")
    done = run(*resumed, cwd=folder, launcher=TWO_PROCESSES)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "pixels come" not in done.stderr
    done = run(*overrides, "encoder.resize=60", f"hydra.run.dir={folder / 'other'}", cwd=folder)
    assert done.returncode != 0
    assert "dataset.cache: " in done.stderr
    assert "make prepare" in done.stderr


def test_pre_training_on_a_set_without_reports_is_refused(run: Run, folder: Path) -> None:
    done = run("dataset=nih14", *STANDIN[:2], f"hydra.run.dir={folder / 'refused'}", cwd=folder)
    assert done.returncode != 0
    assert "nih14 has no reports" in done.stderr
    assert not (folder / "refused").exists()


def test_the_doctor_finds_a_whole_tree_well_and_gives_the_next_command(
    prepare: Command, nih: Path, tmp_path: Path
) -> None:
    arguments = ("dataset=nih14", f"dataset.root={nih}", f"dataset.cache_root={tmp_path / 'cache'}")
    done = prepare(*arguments, "action=doctor")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"prepare.py {' '.join(STANDIN)} {' '.join(arguments)}\n" in done.stderr.split("next: ")[1]
    assert prepare(*arguments).returncode == 0
    done = prepare(*arguments, "action=doctor")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "60 pictures, 0 unreadable, 0 new or changed since" in done.stderr
    assert "next: train with encoder.resize=48" in done.stderr
    picture = next(nih.rglob("*.png"))
    picture.write_bytes(b"changed")
    done = prepare(*arguments, "action=doctor")
    assert done.returncode == 1
    assert "1 new or changed since" in done.stderr


def test_the_doctor_names_a_stand_in_as_such(prepare: Command) -> None:
    assert "split rsna/patient-70-15-15@phantom" in prepare("dataset=rsna", "action=doctor").stderr


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no table", ("missing", "Data_Entry_2017_v2020.csv", "next: add table of labels")),
        ("semicolons", ("wrong", "no column Image Index, Finding Labels, Patient ID", "next:")),
        ("no lists", ("not there", "nih14/official", "needs the publisher's lists")),
        ("a picture less", ("missing image file", "dataset.missing_images=drop")),
    ],
)
def test_the_doctor_says_what_is_wrong_and_what_to_do(
    prepare: Command, nih: Path, damage: str, words: tuple[str, ...]
) -> None:
    table = nih / "Data_Entry_2017_v2020.csv"
    match damage:
        case "no table":
            table.unlink()
        case "semicolons":
            table.write_text(table.read_text().replace(",", ";"))
        case "no lists":
            (nih / "test_list.txt").unlink()
        case "a picture less":
            next(nih.rglob("*.png")).unlink()
    done = prepare("dataset=nih14", "action=doctor", f"dataset.root={nih}")
    assert done.returncode == 1
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr[-2000:]}"


def test_bad_pictures_are_named_and_do_not_crash_a_worker(prepare: Command, nih: Path, tmp_path: Path) -> None:
    names = ("truncated", "huge", "tiny", "text", "jpeg", "dicom")
    bad = dict(zip(names, sorted(nih.rglob("*.png")), strict=False))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    bad["truncated"].write_bytes(bad["truncated"].read_bytes()[:200])
    bad["huge"].write_bytes(huge_png(60_000, 60_000))
    Image.fromarray(noise[:1, :1]).save(bad["tiny"])
    bad["text"].write_bytes(b"no picture")
    Image.fromarray(noise).save(bad["jpeg"], format="JPEG")
    bad["jpeg"].write_bytes(bad["jpeg"].read_bytes()[:1500])
    whole = pydicom.dcmread(write_dicom(tmp_path / "whole.dcm"))
    del whole.PixelData
    whole.save_as(bad["dicom"])
    done = prepare("dataset=nih14", f"dataset.root={nih}", f"dataset.cache_root={tmp_path / 'cache'}")
    assert done.returncode == 0, done.stderr[-3000:]
    for name, cause in (
        ("huge", "Image size (3600000000 pixels) exceeds"),
        ("text", "neither PNG"),
        ("dicom", "no pixel"),
    ):
        assert f"unreadable: '{bad[name].relative_to(nih)}' ({cause}" in done.stderr, done.stderr[-3000:]
    assert "5 pictures cannot be read" in done.stderr, done.stderr[-2000:]
    (report,) = (tmp_path / "cache").glob("nih14-*/unreadable.txt")
    listed = {line.split(": ")[0] for line in report.read_text().splitlines()}
    assert listed == {str(path.relative_to(nih)) for name, path in bad.items() if name != "tiny"}


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data do not have."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_phantoms_need_no_preparation(tmp_path: Path) -> None:
    command = [sys.executable, PREPARE, "dataset=phantom"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "phantom is made on the spot" in done.stderr
