"""Retrieval from encoders to run folder: the pool, its sides and groups, ranks, what is left behind, two processes."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flvlp.baselines import GivenEncoders, find_encoders
from flvlp.data.readers.config import CheXpertConfig, MimicCxrConfig, PairsConfig
from flvlp.data.studies import Labels
from flvlp.types import TextFeatures
from retrieve import Args, RetrievalConfig, encode, keep_pool, retrieve, write_ranks
from support.downstream import Job
from support.retrieval_page import write_page
from support.retrieved import DIRECTIONS, SIDES, Judged, Pool, combined, facts, judge, tables
from tests.builders import REPORTS, HandMadeSource, encoder_config, text_config
from tests.conftest import ONE_PROCESS, PHANTOMS, ROOT, TWO_PROCESSES, environment
from tests.warm import run_entry

STUDIES = 24  # from 4 on tested: 20, of which 13 have a lateral; four studies share each report
CLASSES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


@pytest.fixture(scope="module")
def given() -> GivenEncoders:
    encoder = encoder_config(text=text_config(vocab_size=120))
    return find_encoders("random", encoder, weights="random", seed=0, pretraining=Path("none"), texts=lambda: REPORTS)


@pytest.fixture
def job(given: GivenEncoders, tmp_path: Path) -> Job:
    return make_job(given, tmp_path)


def make_job(given: GivenEncoders, folder: Path, **task: Any) -> Job:
    source = HandMadeSource(STUDIES)
    parts = {"train": np.arange(4), "test": np.arange(4, STUDIES)}
    args = Args(dataset=PairsConfig(name="pairs"), task=RetrievalConfig(num_workers=0, **task), draws=20, pictures=4)
    nothing: Any = None
    return Job(args, "retrieve", folder, torch.device("cpu"), given, source, parts, nothing, 0.0)


def encoded(job: Job) -> Pool:
    assert isinstance(job.args, Args)
    return encode(job, job.args, keep_pool(job, job.args))


def judged(pool: Pool, has_fusion: bool = True) -> dict[str, Judged]:
    return judge(pool, has_fusion=has_fusion, draws=20, chunk=7)


def rank_by_sorting(similarity: np.ndarray, is_right: np.ndarray) -> float:
    """Returns the expected rank of the first right answer, ties broken at random."""
    best = similarity[is_right].max()
    wrong, right = (similarity[~is_right] == best).sum(), (similarity[is_right] == best).sum()
    return float((similarity[~is_right] > best).sum() + 1 + wrong / (right + 1))


def test_the_pool_is_the_whole_test_part_whatever_the_batches(given: GivenEncoders, tmp_path: Path) -> None:
    one, other = (encoded(make_job(given, tmp_path, batch_size=size)) for size in (3, 20))
    assert one.positions.tolist() == list(range(4, STUDIES)) == other.positions.tolist()
    for name, features in one.features.items():
        assert torch.allclose(features, other.features[name], atol=1e-5), name
    assert one.has_lateral.tolist() == [i % 3 != 2 for i in range(4, STUDIES)]


def test_reports_in_the_same_words_have_one_feature_and_one_group(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = job.given.with_text.encoders
    plain = encoders.encode_text

    def rounded(*batch: torch.Tensor) -> TextFeatures:  # as other padding rounds
        text = plain(*batch)
        return replace(text, report=text.report + 1e-6 * torch.randn_like(text.report))

    monkeypatch.setattr(encoders, "encode_text", rounded)
    pool = encoded(job)
    reports = [job.source.studies[position].report for position in pool.positions]
    for row in range(len(pool)):
        for other in range(len(pool)):
            is_same = reports[row] == reports[other]
            assert bool(pool.groups[row] == pool.groups[other]) == is_same
            assert torch.equal(pool.features["report"][row], pool.features["report"][other]) == is_same


@pytest.mark.parametrize("dedupe", [True, False])
def test_predictions_hold_the_rank_that_sorting_each_pool_gives(
    given: GivenEncoders, tmp_path: Path, dedupe: bool
) -> None:
    job = make_job(given, tmp_path, dedupe=dedupe)
    pool = encoded(job)
    write_ranks(job, pool, judged(pool))
    with (tmp_path / "predictions.csv").open() as file:
        lines = {(line["side"], line["direction"], line["id"]): line for line in csv.DictReader(file)}
    for side, (feature, needs_lateral) in SIDES.items():
        rows = [row for row in range(len(pool)) if pool.has_lateral[row] or not needs_lateral]
        features = (torch.nn.functional.normalize(pool.features[name][rows], dim=-1) for name in (feature, "report"))
        images, reports = features
        similarity = (images @ reports.T).numpy()
        for direction, matrix in zip(DIRECTIONS, (similarity, similarity.T), strict=True):
            for place, row in enumerate(rows):
                is_right = (pool.groups[rows] == pool.groups[row]).numpy()
                line = lines.pop((side, direction, job.source.studies[pool.positions[row]].study_id))
                expected = rank_by_sorting(matrix[place], is_right)
                assert float(line["rank"]) == pytest.approx(expected, abs=1e-4), f"{line}, by sorting {expected}"
                assert (int(line["pool"]), int(line["group_size"])) == (len(rows), is_right.sum()), line
                assert dedupe or is_right.sum() == 1, "only the own pair is right"
    assert not lines, f"{len(lines)} lines too many"


def test_sides_are_compared_on_one_pool_and_every_row_says_which(job: Job) -> None:
    pool = encoded(job)
    found = judged(pool)
    figures = combined(pool, found)
    pools = [figures[f"{side}/pool"] for side in SIDES]
    assert pools == [20, 20, 13, 13, 13], f"{pools}"
    gains = [figures[f"{side}_with_lateral/r1"] for side in ("fused", "frontal")]
    assert figures["fused_minus_frontal/r1"] == pytest.approx(gains[0] - gains[1]), f"{gains}"
    (table,) = tables(found)
    assert [tuple(row[:2]) for row in table.rows] == [
        *(("frontal", "20"), ("fused", "20"), ("by chance", "20")),
        *(("lateral *", "13"), ("frontal *", "13"), ("fused *", "13"), ("by chance *", "13")),
    ]
    r1 = (figures["fused/image_to_text/r1"] + figures["fused/text_to_image/r1"]) / 2
    assert figures["fused/r1"] == pytest.approx(r1) and figures["fused/r1_low"] <= r1 <= figures["fused/r1_high"]


def test_chance_is_k_of_the_pool_and_more_where_reports_repeat(given: GivenEncoders, tmp_path: Path) -> None:
    own, same = (judged(encoded(make_job(given, tmp_path, dedupe=dedupe)))["frontal"] for dedupe in (False, True))
    for k in (1, 5, 10):
        assert own.figures[f"chance_r{k}"] == pytest.approx(k / 20), f"chance {own.figures[f'chance_r{k}']}"
    assert same.figures["chance_r1"] == pytest.approx(4 / 20), "four of 20 reports are in the same words"
    none = np.prod([(16 - taken) / (20 - taken) for taken in range(5)])
    assert same.figures["chance_r5"] == pytest.approx(1 - none), f"{same.figures['chance_r5']}, by hand {1 - none}"


def test_an_untrained_fused_side_is_not_judged(given: GivenEncoders, tmp_path: Path) -> None:
    assert given.loaded is not None
    job = make_job(replace(given, loaded=replace(given.loaded, has_fusion=False)), tmp_path)
    pool = encoded(job)
    found = judged(pool, has_fusion=False)
    figures = combined(pool, found)
    assert np.isnan(figures["fused/r1"]) and not np.isnan(figures["frontal/r1"])
    rows = {row[0]: row for row in tables(found)[0].rows}
    assert set(rows["fused"][1:]) == {"n/a"} == set(rows["fused *"][1:])
    assert any("nothing trained it" in fact for fact in facts(job, pool, figures, is_dedupe=True))
    write_page(job, pool, found, [], [])
    assert "Image to text, frontal side" in (tmp_path / "retrieval.html").read_text()


def test_without_any_lateral_its_rows_are_empty(job: Job) -> None:
    job.source.studies = [replace(study, has_lateral=False) for study in job.source.studies]
    pool = encoded(job)
    found = judged(pool)
    rows = {row[0]: row for row in tables(found)[0].rows}
    assert set(rows["lateral *"][1:]) == {"n/a"} and "by chance *" not in rows
    assert "fused_minus_frontal/r1" not in combined(pool, found)


def test_studies_without_a_report_leave_the_pool(job: Job) -> None:
    job.source.studies = [replace(one, report=one.report * (i % 2)) for i, one in enumerate(job.source.studies)]
    assert encoded(job).positions.tolist() == list(range(5, STUDIES, 2))
    assert job.parts["test"].tolist() == list(range(5, STUDIES, 2)), "result rows hash this list"
    job.source.studies = [replace(one, report="") for one in job.source.studies]
    with pytest.raises(ValueError, match="pairs has no reports, and retrieval needs them"):
        encoded(job)


def test_a_pool_of_classes_is_judged_by_class_too(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    values = np.zeros((STUDIES, 5), dtype=np.float32)
    values[np.arange(STUDIES), np.arange(STUDIES) % 5] = 1
    values[4], values[5] = 0, 1  # none, and all of them
    job.source.labels = Labels(CLASSES, values)
    job.args.dataset = MimicCxrConfig(name="mimic_cxr", split="mimic_cxr/5x200")
    pool = encoded(job)
    assert pool.positions.tolist() == list(range(6, STUDIES)) and "2 of 20 test studies" in caplog.text
    assert pool.classes is not None and pool.classes.tolist() == [i % 5 for i in range(6, STUDIES)]
    found = judged(pool)
    figures = combined(pool, found)
    # Reports repeat every five studies, as classes do: the first right answer is the first of the class.
    assert figures["fused/image_to_text/p1"] == pytest.approx(figures["fused/image_to_text/r1"])
    shares = [np.mean([j % 5 == i % 5 for j in range(6, STUDIES)]) for i in range(6, STUDIES)]
    assert figures["fused/chance_p"] == pytest.approx(np.mean(shares)), f"{figures['fused/chance_p']}"
    assert [table.columns[2] for table in tables(found)] == ["R@1", "P@1"]
    assert isinstance(job.args, Args)
    job.args.task.classes = ["Nodule"]
    with pytest.raises(ValueError, match=r"task\.classes: unknown Nodule; choose from: Atelectasis"):
        encoded(job)


def test_chexpert_is_refused_before_any_work_with_what_is_there_instead(tmp_path: Path) -> None:
    args = Args(dataset=CheXpertConfig(name="chexpert", split="chexpert/8x200"))
    with pytest.raises(ValueError, match=r"chexpert has no reports.*CheXpert-8x200 is searched.*zeroshot\.py"):
        retrieve(args, tmp_path / "run", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("log_text", "log_images"), [(False, False), (True, False), (False, True), (True, True)])
def test_the_page_of_a_credentialed_set_holds_only_what_is_allowed(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture, log_text: bool, log_images: bool
) -> None:
    caplog.set_level("INFO")
    job.args.dataset = PairsConfig(name="pairs", credentialed=True, log_text=log_text, log_images=log_images)
    pool = encoded(job)
    found = judged(pool)
    write_page(job, pool, found, [], tables(found))
    write_ranks(job, pool, found)
    path = tmp_path / "retrieval.html"
    assert path.exists() == (log_text or log_images)
    page = path.read_text() if path.exists() else ""
    assert any(report in page for report in REPORTS) == log_text
    assert ("data:image/png" in page) == log_images
    assert ("Text is not shown" in page) == (log_images and not log_text)
    assert ("no retrieval.html" in caplog.text) == (not page)
    assert "study 4" not in page + (tmp_path / "predictions.csv").read_text(), "an id was left behind"


def run(folder: Path, phantom_root: Path, *overrides: str, launcher: tuple[str, ...]) -> dict[str, Any]:
    sizes = ("encoder.resize=64", "encoder.crop=56", "encoders=random", "task.num_workers=0", "draws=50")
    data = ("dataset=phantom", f"dataset.root={phantom_root}", *PHANTOMS, "dataset.test_fraction=0.4")
    command = [*launcher, str(ROOT / "experiments" / "retrieve.py"), *sizes, *data, f"hydra.run.dir={folder}"]
    done = run_entry([*command, *overrides], folder.parent, environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert "by chance" in done.stderr and "image to text" in done.stderr, done.stderr[-2000:]
    row: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return row


def test_a_run_leaves_the_row_the_ranks_and_the_page(tmp_path: Path, phantom_root: Path) -> None:
    row = run(tmp_path / "run", phantom_root, launcher=ONE_PROCESS)
    assert (row["headline"], row["mode"], row["task"]) == ("fused/r1", "same_report", "retrieve")
    assert row["figures"]["fused/pool"] == row["images"]["tested"] == row["images"]["test"]
    assert {"config.yaml", "predictions.csv", "retrieval.html"} <= {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tmp_path: Path, phantom_root: Path) -> None:
    one = run(tmp_path / "one", phantom_root, launcher=ONE_PROCESS)["figures"]
    sizes = ("task.batch_size=5", "task.chunk=3")
    two = run(tmp_path / "two", phantom_root, *sizes, launcher=TWO_PROCESSES)["figures"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name] == pytest.approx(value, abs=1e-9), f"{name}: one process {value}, two {two[name]}"
