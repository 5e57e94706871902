"""Stand-ins are made once, with the same bytes for the same settings, and are finished or not there."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flvlp.data.phantom import making_once, standin
from flvlp.data.phantom.layouts.classes import chexpert_classes, nih_classes
from flvlp.data.phantom.layouts.covidx import class_of
from flvlp.data.phantom.layouts.parts import one_of_each_patient, parts_of
from flvlp.data.phantom.making import plan_studies
from flvlp.data.phantom.source import PhantomSource
from flvlp.data.phantom.standin import WRITERS, make_standin, standin_folder
from flvlp.data.readers.base_config import PublishedConfig
from flvlp.data.readers.config import CheXpertConfig
from flvlp.data.studies import Study
from tests.processes import group_lives

Configure = Callable[..., PublishedConfig]


class PlansOnly(PhantomSource):
    """What phantoms would be, without a picture."""

    def __init__(self, studies: int, seed: int) -> None:
        self.plans, self.seed = plan_studies(studies, seed), seed
        self.studies = [Study(str(plan.index), f"patient-{plan.patient:06d}", "", False) for plan in self.plans]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_settings_give_the_same_bytes(name: str, phantoms: PhantomSource, tmp_path: Path) -> None:
    for copy in ("first", "second"):
        (tmp_path / copy).mkdir()
        WRITERS[name](tmp_path / copy, phantoms)
    first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
    assert list(first) == list(second)
    assert [path for path in first if first[path] != second[path]] == []
    assert not any(str(tmp_path).encode() in content for content in first.values())


def test_phantoms_made_anew_give_the_same_stand_in(tmp_path: Path) -> None:
    folders = [
        make_standin(CheXpertConfig("chexpert", standin_root=str(tmp_path / copy), standin_studies=12, standin_size=32))
        for copy in ("first", "second")
    ]
    assert contents(folders[0]) == contents(folders[1])


def test_other_settings_have_another_folder(configure: Configure) -> None:
    same = {standin_folder(configure("nih14")), standin_folder(configure("nih14", split="nih14/patient", cache="off"))}
    others = {
        standin_folder(configure("nih14", standin_studies=47)),
        standin_folder(configure("nih14", standin_size=65)),
        standin_folder(configure("nih14", standin_seed=2)),
        standin_folder(configure("rsna")),
    }
    assert len(same) == 1
    assert len(others - same) == 4


def test_another_seed_has_other_ids(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    config = CheXpertConfig("rsna", standin_root=str(tmp_path), standin_studies=12, standin_size=32, standin_seed=7)
    names = [{path.stem for path in folder.rglob("*.dcm")} for folder in (make_standin(config), folder_of("rsna"))]
    assert not names[0] & names[1]


def test_a_stand_in_is_written_once_and_says_where(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    config = configure("nih14", standin_root=str(tmp_path), standin_studies=12, standin_size=32)
    with caplog.at_level(logging.INFO, "flvlp"):
        folder = make_standin(config)
    assert f"to {folder}" in caplog.text
    monkeypatch.setitem(WRITERS, "nih14", lambda folder, phantoms: pytest.fail("written again"))
    assert make_standin(config) == folder


def test_what_fails_while_it_is_written_leaves_nothing_behind(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, standin_root: Path
) -> None:
    def write_and_fail(folder: Path, _: PhantomSource) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    config = configure("rsna", standin_studies=12, standin_size=32)
    before = {path.name for path in standin_root.iterdir()}
    monkeypatch.setitem(WRITERS, "rsna", write_and_fail)
    with pytest.raises(KeyboardInterrupt):
        make_standin(config)
    assert {path.name for path in standin_root.iterdir()} == before


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    left = {process: tmp_path / f".done.{host}.{process}.00ff" for process in (ended.pid, os.getpid())}
    other = tmp_path / f".done.another-{host}.{ended.pid}.00ff"  # nobody here knows whether that process lives
    for folder in (*left.values(), other):
        folder.mkdir()
    making_once.make_once(tmp_path / "done", 0, "it", lambda folder: (folder / "file").touch())
    assert {path.name for path in tmp_path.iterdir()} == {"done", left[os.getpid()].name, other.name}


def test_of_two_that_make_the_same_folder_the_first_to_finish_wins(tmp_path: Path) -> None:
    def write_slowly(folder: Path) -> None:
        making_once.make_once(tmp_path / "done", 0, "it", lambda faster: (faster / "of the faster").touch())
        (folder / "of the slower").touch()

    making_once.make_once(tmp_path / "done", 0, "it", write_slowly)
    assert [path.name for path in tmp_path.iterdir()] == ["done"]
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["of the faster"]


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"may need up to 9313225\.7; point dataset\.root"):
        making_once.make_once(tmp_path / "done", 10**16, "it", lambda _: pytest.fail("written"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_data_set_and_too_few_studies_are_refused(configure: Configure, tmp_path: Path) -> None:
    unknown = PublishedConfig("padchest", standin_root=str(tmp_path))
    with pytest.raises(ValueError, match=r"no stand-in for 'padchest'; there is one for: mimic_cxr, .*object_cxr"):
        make_standin(unknown)
    with pytest.raises(ValueError, match=r"standin_studies: 9 leave parts of the split empty; at least 10"):
        make_standin(configure("nih14", standin_studies=9))
    assert list(tmp_path.iterdir()) == []


def test_every_part_of_a_default_stand_in_has_positives_of_every_class() -> None:
    defaults = PublishedConfig()
    phantoms = PlansOnly(defaults.standin_studies, defaults.standin_seed)
    parts = parts_of(phantoms)
    objects = one_of_each_patient(phantoms, "support_device")
    for part in ("train", "validation", "test"):
        members = [plan for plan, own in zip(phantoms.plans, parts, strict=True) if own == part]
        assert {name for plan in members for name in nih_classes(plan.findings)} >= {"Hernia", "Infiltration"}
        assert len({name for plan in members for name in nih_classes(plan.findings)}) == 12  # of 14
        assert len({name for plan in members for name in chexpert_classes(plan.findings)}) == 13  # of 14
        assert {class_of(plan.findings) for plan in members} == {"", "normal", "pneumonia", "COVID-19"}
        names = [{one.name for one in plan.findings} for plan in members if plan.index in objects]
        assert sum("support_device" in own for own in names) > 10


def test_each_patient_is_in_one_part_and_the_same_in_every_stand_in() -> None:
    phantoms = PlansOnly(300, 3)
    part_of: dict[int, set[str]] = {}
    for plan, part in zip(phantoms.plans, parts_of(phantoms), strict=True):
        part_of.setdefault(plan.patient, set()).add(part)
    assert all(len(parts) == 1 for parts in part_of.values())
    chosen = one_of_each_patient(phantoms, "pneumothorax")
    assert sorted(phantoms.plans[index].patient for index in chosen) == sorted(part_of)
    shows = {plan.patient for plan in phantoms.plans if any(one.name == "pneumothorax" for one in plan.findings)}
    taken = {
        phantoms.plans[i].patient for i in chosen if any(f.name == "pneumothorax" for f in phantoms.plans[i].findings)
    }
    assert taken == shows


def test_every_published_data_set_has_a_stand_in() -> None:
    from flvlp.data.readers.config import DATASET_CONFIGS

    published = {name for name, config in DATASET_CONFIGS.items() if issubclass(config, PublishedConfig)}
    assert set(standin.WRITERS) == published


def test_processes_that_want_the_same_at_once_make_it_once(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from pathlib import Path; from flvlp.data.phantom.making_once import make_once\n"
        "def write(folder): time.sleep(0.5); (folder / str(os.getpid())).touch(); print('made', flush=True)\n"
        "make_once(Path(sys.argv[1]), 0, 'it', write)"
    )
    line = [sys.executable, "-c", script, str(tmp_path / "done")]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60)[0] for one in both]
    assert sorted(said) == ["", "made\n"] and [one.returncode for one in both] == [0, 0]
    assert len(list((tmp_path / "done").iterdir())) == 1


MAKING = """
import sys
from flvlp.data.phantom.source import PhantomSource
from flvlp.data.readers.config import PhantomConfig
if __name__ == "__main__":
    PhantomSource(PhantomConfig(name="phantom", root=sys.argv[1], studies=2000, size=64, workers=2))
"""


def test_workers_that_make_phantoms_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "make.py"
    script.write_text(MAKING)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "made")], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "made").glob(".*/*.npy")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)  # for the workers to start
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was finished before"
    deadline = time.monotonic() + 20
    while group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group_lives(process.pid), "workers outlive their parent"
