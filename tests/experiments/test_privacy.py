"""Nothing of a credentialed data set is left behind: planted words are looked for in every byte of every file."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import initialize_config_dir
from PIL import Image

from report import Args, write_report
from support.entry import CONF
from tests.conftest import Run

STUDIES = 60
LETTERS = np.array(list("bcdfghjkmpqvwxz"))  # words that nothing else contains
# In the text a word of its own for every study: what many reports share is vocabulary, and no secret.
WORDS = ["".join(np.random.default_rng(number).choice(LETTERS, 10)) for number in range(STUDIES)]
SECRETS = {"patient": "zxqpatient", "file": "zxqfile", "folder": "zxqfolder"} | {
    f"report {number}": word for number, word in enumerate(WORDS)
}
REPORTS = (
    "No pleural effusion. The heart is normal in size.",
    "Small left pleural effusion with basilar atelectasis.",
    "The lungs are clear. No pneumothorax is seen.",
    "Cardiomegaly with mild pulmonary edema.",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a table of 60 studies whose every text, id and file name has a planted word with its number."""
    folder = tmp_path_factory.mktemp("data")
    (folder / SECRETS["folder"]).mkdir()
    generator, rows = np.random.default_rng(0), []
    mask = f"{SECRETS['folder']}/{SECRETS['file']}-mask.png"
    Image.fromarray(np.pad(np.full((30, 30), 255, dtype=np.uint8), 20)).save(folder / mask)
    for number in range(STUDIES):
        name = f"{SECRETS['folder']}/{SECRETS['file']}{number}.png"
        Image.fromarray(generator.integers(0, 256, (70, 70), dtype=np.uint8)).save(folder / name)
        report = f"{REPORTS[number % 4]} Compared with {WORDS[number]}."
        lateral = name if number % 2 else ""
        part = ("train", "train", "train", "validation", "test")[number % 5]
        labels = [number % 2, (number // 2) % 2, mask if number % 2 else ""]
        rows.append([name, lateral, report, f"{SECRETS['patient']}{number}", part, *labels])
    (folder / f"{SECRETS['folder']}/{SECRETS['file']}0.png").write_bytes(b"no picture")  # of the training part
    path = folder / "studies.csv"
    with path.open("w", newline="") as file:
        header = ["Path_frontal", "Path_lateral", "Report", "patient", "part", "effusion", "edema", "mask"]
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def credentialed(table: Path) -> tuple[str, ...]:
    """Returns the overrides that read it as credentialed data."""
    return (
        *("dataset=pairs", f"dataset.csv={table}", "dataset.credentialed=true", "dataset.patient_column=patient"),
        *("dataset.split_column=part", "dataset.label_columns=[effusion,edema]", "dataset.on_error=skip"),
    )


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Returns the overrides that read Object-CXR, whose file names are its ids, as credentialed data."""
    folder = tmp_path_factory.mktemp("objects")
    for part, count in (("train", 12), ("dev", 6)):
        (folder / part).mkdir()
        rows = []
        for number in range(count):
            name = f"{SECRETS['file']}{number}.jpg"
            Image.new("L", (70, 70), 20 * (number % 10)).save(folder / part / name)
            rows.append((name, "0 10 10 40 40" if number % 2 else ""))
        with (folder / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image_name", "annotation"), *rows])
    (folder / "train" / f"{SECRETS['file']}2.jpg").write_bytes(b"no picture")
    return ("dataset=object_cxr", f"dataset.root={folder}", "dataset.credentialed=true", "dataset.on_error=skip")


def leaks(folder: Path, said: str) -> Iterator[str]:
    """Yields where a planted word stands: in the bytes or the name of a file, or in what was printed."""
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for kind, word in SECRETS.items():
            if word.encode() in content or word in path.name:
                yield f"{kind} in {path.relative_to(folder)}"
    for kind, word in SECRETS.items():
        if word in said:
            yield f"{kind} in what was printed: {said[max(0, said.index(word) - 200) :][:300]!r}"


@pytest.fixture(scope="module")
def pretrained(run: Run, credentialed: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Returns the folder of a pre-training with every picture and figure that it can draw, and what it printed."""
    folder = tmp_path_factory.mktemp("pretrained")
    drawn = (
        "engine.figures_every=1",
        "engine.projector=20",
        "engine.log_pictures=4",
        "engine.profile=true",
        "engine.keep_checkpoints=1",
    )
    done = run(*credentialed, *drawn, f"hydra.run.dir={folder / 'run'}", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "skipped study #" in done.stderr, "the unreadable picture was never met"
    return folder, done.stdout + done.stderr


def test_the_planted_words_are_found_where_they_may_stand(table: Path) -> None:
    found = set(leaks(table.parent, ""))
    assert f"report 7 in {table.name}" in found
    assert f"folder in {SECRETS['folder']}" in found


def test_pre_training_leaves_no_word_id_or_path_behind(pretrained: tuple[Path, str]) -> None:
    found = sorted(leaks(*pretrained))
    assert not found, f"{len(found)} leaks: {found[:10]}"


MASKS = "dataset.mask_column=mask dataset.label_columns=[effusion]"
SHORT = "task.model.width=32 task.fit.epochs=1 task.fit.num_workers=0 task.fit.warmup_epochs=0 task.fit.min_steps=0"
LINES = (
    "classify task=linear_probe",
    "zeroshot prompts=findings",
    "retrieve",
    f"segment {MASKS} {SHORT}",
    f"detect {SHORT}",
    f"explain action=grounding task.num_workers=0 {MASKS}",
    "explain action=study phrase=effusion dataset.log_images=true",
)
Task = Callable[..., Path]


@pytest.fixture
def given(pretrained: tuple[Path, str]) -> tuple[str, ...]:
    """Returns the overrides with which a task takes the pre-trained encoders."""
    return (f"encoders={pretrained[0] / 'run' / 'encoders'}", "~encoder.resize", "~encoder.crop")


@pytest.mark.parametrize("line", LINES, ids=[" ".join(line.split()[:2]) for line in LINES])
def test_a_task_leaves_no_word_id_or_path_behind(
    task: Task, capfd: pytest.CaptureFixture[str], given: tuple[str, ...], request: pytest.FixtureRequest, line: str
) -> None:
    entry, *overrides = line.split()
    data = request.getfixturevalue("objects" if entry == "detect" else "credentialed")
    folder = task(entry, *data, *overrides, *given)
    out, err = capfd.readouterr()
    assert len(list(folder.iterdir())) > 2, "it wrote nothing"
    found = sorted(leaks(folder.parent, out + err))  # the working directory too
    assert not found, f"{len(found)} leaks: {found[:10]}"


def test_a_refusal_to_draw_leaves_no_word_id_or_path_behind(
    task: Task, capfd: pytest.CaptureFixture[str], credentialed: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="pairs is credentialed") as caught:
        task("explain", *credentialed, "action=study")
    out, err = capfd.readouterr()
    found = sorted(leaks(tmp_path, out + err + str(caught.value)))
    assert not found, f"{len(found)} leaks: {found[:10]}"


@pytest.fixture(scope="module")
def swept(run: Run, credentialed: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Returns the folder of a sweep whose second job breaks at the unreadable picture, and what it printed."""
    folder = tmp_path_factory.mktemp("swept")
    asked = (
        "engine.max_steps=2",
        "engine.keep_checkpoints=1",
        "dataset.on_error=skip,raise",
        f"hydra.sweep.dir={folder / 'sweep'}",
    )
    done = run("-m", *credentialed, *asked, cwd=folder)
    assert done.returncode == 1, done.stderr[-3000:]
    assert (folder / "sweep" / "0" / "finished.json").is_file()
    assert "ImageReadError" in (folder / "sweep" / "1" / "failed.txt").read_text()
    return folder, done.stdout + done.stderr


def test_a_broken_job_of_a_sweep_leaves_no_word_id_or_path_behind(swept: tuple[Path, str]) -> None:
    found = sorted(leaks(*swept))
    assert not found, f"{len(found)} leaks: {found[:10]}"


def test_a_report_leaves_no_word_id_or_path_behind(
    task: Task, capfd: pytest.CaptureFixture[str], given: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    retrieved = task("retrieve", *request.getfixturevalue("credentialed"), *given)
    folders = [retrieved, *(request.getfixturevalue(name)[0] for name in ("pretrained", "swept"))]
    page = retrieved.parent / "report" / "report.html"
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        write_report(Args(runs=[str(folder) for folder in folders], draws=20), page.parent, "")
    out, err = capfd.readouterr()
    assert "ImageReadError" in page.read_text(), "the broken job is not told of"
    found = sorted(leaks(retrieved.parent, out + err))
    assert not found, f"{len(found)} leaks: {found[:10]}"


def test_an_error_leaves_no_word_id_or_path_behind(run: Run, credentialed: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*credentialed, "dataset.on_error=raise", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode != 0
    assert "row 2" in done.stderr, done.stderr[-2000:]
    found = sorted(leaks(tmp_path, done.stdout + done.stderr))
    assert not found, f"{len(found)} leaks: {found[:10]}"
