"""Nothing of a credentialed data set is left behind: planted words are looked for in every byte of every file."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    for number in range(STUDIES):
        name = f"{SECRETS['folder']}/{SECRETS['file']}{number}.png"
        Image.fromarray(generator.integers(0, 256, (70, 70), dtype=np.uint8)).save(folder / name)
        report = f"{REPORTS[number % 4]} Compared with {WORDS[number]}."
        lateral = name if number % 2 else ""
        part = ("train", "train", "train", "validation", "test")[number % 5]
        rows.append([name, lateral, report, f"{SECRETS['patient']}{number}", part, number % 2, (number // 2) % 2])
    (folder / f"{SECRETS['folder']}/{SECRETS['file']}0.png").write_bytes(b"no picture")  # of the training part
    path = folder / "studies.csv"
    with path.open("w", newline="") as file:
        header = ["Path_frontal", "Path_lateral", "Report", "patient", "part", "effusion", "edema"]
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def credentialed(table: Path) -> tuple[str, ...]:
    """Returns the overrides that read it as credentialed data."""
    return (
        *("dataset=pairs", f"dataset.csv={table}", "dataset.credentialed=true", "dataset.patient_column=patient"),
        *("dataset.split_column=part", "dataset.label_columns=[effusion,edema]", "dataset.on_error=skip"),
    )


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
    drawn = ("engine.figures_every=1", "engine.projector=20", "engine.log_pictures=4", "engine.profile=true")
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


@pytest.mark.parametrize("line", ["classify task=linear_probe", "zeroshot prompts=findings", "retrieve"])
def test_a_task_leaves_no_word_id_or_path_behind(
    task: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
    pretrained: tuple[Path, str],
    credentialed: tuple[str, ...],
    line: str,
) -> None:
    entry, *overrides = line.split()
    encoders = pretrained[0] / "run" / "encoders"
    folder = task(entry, *credentialed, *overrides, f"encoders={encoders}", "~encoder.resize", "~encoder.crop")
    out, err = capfd.readouterr()
    found = sorted(leaks(folder, out + err))
    assert not found, f"{len(found)} leaks: {found[:10]}"


def test_an_error_leaves_no_word_id_or_path_behind(run: Run, credentialed: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*credentialed, "dataset.on_error=raise", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode != 0
    assert "row 2" in done.stderr, done.stderr[-2000:]
    found = sorted(leaks(tmp_path, done.stdout + done.stderr))
    assert not found, f"{len(found)} leaks: {found[:10]}"
