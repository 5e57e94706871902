"""The phantom data set: made once, cached on disk, read through a memory map."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flvlp.data.phantom.findings import FINDING_NAMES, Finding
from flvlp.data.phantom.making import MadePhantom, PhantomPlan, chunks, label_matrix, make_chunk, plan_studies
from flvlp.data.phantom.making_once import make_once
from flvlp.data.phantom.rendering import Box
from flvlp.data.processes import end_with_parent
from flvlp.data.readers.config import PhantomConfig
from flvlp.data.reports import compose_report, split_sections
from flvlp.data.splits.patients import split_by_patient
from flvlp.data.studies import Boxes, Labels, Masks, Study

log = logging.getLogger(__name__)

CHUNK = 25  # studies a worker makes at a time
OPACITY = "opacity"


@dataclass(frozen=True)
class PneumothoraxMasks:
    """Where the frontal views show a pneumothorax; `flvlp.data.studies.Masks`.

    Attributes:
        masks: (n, S, S) bool, of the studies that show one.
        rows: of each study, its row in `masks`, None without a pneumothorax.
    """

    masks: np.ndarray
    rows: Sequence[int | None]

    def of(self, index: int) -> np.ndarray:
        """Returns the mask of study `index`, (S, S) bool."""
        row = self.rows[index]
        return np.zeros(self.masks.shape[1:], dtype=bool) if row is None else np.asarray(self.masks[row])


class PhantomSource:
    """Phantom studies; implements `flvlp.data.studies.StudySource`.

    Attributes:
        studies, splits, split_name: see `StudySource`; split by patient.
        labels: of the C findings in the order of `FINDING_NAMES`.
        boxes: of the consolidations on the frontal views, of the one class `opacity`.
        masks, pneumothorax: of the pneumothoraces on the frontal views.
        seed, size: of the phantoms; pictures are (size, size).
        plans: of each study, patient, visit and findings.
        finding_boxes: of each study, view name -> (finding or device name, box in pixels), see `Rendering`.
        raw_reports: of each study, with its section headers.
    """

    split_name = "phantom/patient"

    def __init__(self, config: PhantomConfig) -> None:
        """Opens the cache under `config.root`, making the phantoms first where they are not there."""
        folder = cache_folder(config)
        if not folder.is_dir():
            make_cache(config, folder)
        index = json.loads((folder / "studies.json").read_text())
        self.seed, self.size = config.seed, config.size
        self.plans = [_plan(number, entry) for number, entry in enumerate(index)]
        self.raw_reports: list[str] = [entry["report"] for entry in index]
        self.finding_boxes: list[dict[str, list[tuple[str, Box]]]] = [
            {view: [(name, _box(box)) for name, box in marked] for view, marked in entry["finding_boxes"].items()}
            for entry in index
        ]
        self.studies: Sequence[Study] = [
            Study(
                study_id=f"phantom-{plan.index:06d}",
                patient_id=f"patient-{plan.patient:06d}",
                report=compose_report(split_sections(report)),
                has_lateral=plan.has_lateral,
            )
            for plan, report in zip(self.plans, self.raw_reports, strict=True)
        ]
        self.labels: Labels | None = Labels(FINDING_NAMES, np.load(folder / "labels.npy"))
        self.boxes: Boxes | None = _opacity_boxes([entry["opacity_boxes"] for entry in index], config.size)
        self.pneumothorax = PneumothoraxMasks(
            np.load(folder / "pneumothorax.npy", mmap_mode="r"), [entry["mask_row"] for entry in index]
        )
        self.masks: Masks | None = self.pneumothorax
        patients = [study.patient_id for study in self.studies]
        self.splits = split_by_patient(patients, config.validation_fraction, config.split_seed, config.test_fraction)
        self._lateral_rows = [entry["lateral_row"] for entry in index]
        self._frontals = np.load(folder / "frontal.npy", mmap_mode="r")
        self._laterals = np.load(folder / "lateral.npy", mmap_mode="r")

    def frontal(self, index: int) -> np.ndarray:
        """Returns the frontal view (S, S) uint8."""
        return np.asarray(self._frontals[index])

    def lateral(self, index: int) -> np.ndarray:
        """Returns the lateral view (S, S) uint8."""
        return np.asarray(self._laterals[self._lateral_rows[index]])


def _plan(number: int, entry: dict) -> PhantomPlan:
    findings = tuple(Finding(**finding) for finding in entry["findings"])
    return PhantomPlan(number, entry["patient"], entry["visit"], findings, entry["lateral_row"] is not None)


def _box(values: Sequence[int]) -> Box:
    left, top, width, height = values
    return left, top, width, height


def _opacity_boxes(boxes: Sequence[Sequence[Box]], size: int) -> Boxes:
    """Returns boxes of pixels as shares of the picture."""
    study = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
    values = np.array([box for own in boxes for box in own], dtype=np.float32).reshape(-1, 4)
    return Boxes((OPACITY,), study.astype(np.int64), values / np.float32(size), np.zeros(len(study), dtype=np.int64))


def code_hash(files: Iterable[Path]) -> str:
    """Returns the sha256 of some source files together, so that what they made is made anew when they change."""
    code = hashlib.sha256()
    for path in sorted(files):
        code.update(path.read_bytes())
    return code.hexdigest()


def cache_folder(config: PhantomConfig) -> Path:
    """Returns the folder of these phantoms; another seed, size, number or version of this package is another folder."""
    settings = f"{config.studies} {config.size} {config.seed} {code_hash(Path(__file__).parent.glob('*.py'))}"
    return Path(config.root) / hashlib.sha256(settings.encode()).hexdigest()[:16]


def make_cache(config: PhantomConfig, folder: Path) -> None:
    """Makes all phantoms in parallel; `folder` is finished or not there.

    Raises:
        OSError: the disk has no room for them.
    """
    plans = plan_studies(config.studies, config.seed)
    needed = 2 * config.studies * config.size**2
    make_once(folder, needed, "the phantoms", lambda temporary: _write_phantoms(plans, config, temporary))


def _write_phantoms(plans: list[PhantomPlan], config: PhantomConfig, folder: Path) -> None:
    """Writes pictures, masks, labels and the index of all plans."""
    laterals = sum(plan.has_lateral for plan in plans)
    size = (config.size, config.size)
    frontal = np.lib.format.open_memmap(folder / "frontal.npy", mode="w+", dtype=np.uint8, shape=(len(plans), *size))
    lateral = np.lib.format.open_memmap(folder / "lateral.npy", mode="w+", dtype=np.uint8, shape=(laterals, *size))
    masks: list[np.ndarray] = []
    index = []
    lateral_row = 0
    progress = tqdm(total=len(plans), desc=f"making phantoms of {config.size} px", unit="study", disable=None)
    with progress:
        for made in _make_all(plans, config):
            frontal[made.plan.index] = made.frontal
            entry = {
                "patient": made.plan.patient,
                "visit": made.plan.visit,
                "report": made.report,
                "findings": [asdict(finding) for finding in made.plan.findings],
                "opacity_boxes": made.opacity_boxes,
                "finding_boxes": made.finding_boxes,
                "lateral_row": None,
                "mask_row": None,
            }
            if made.lateral is not None:
                lateral[lateral_row] = made.lateral
                entry["lateral_row"] = lateral_row
                lateral_row += 1
            if made.pneumothorax_mask.any():
                entry["mask_row"] = len(masks)
                masks.append(made.pneumothorax_mask)
            index.append(entry)
            progress.update()
    frontal.flush()
    lateral.flush()
    np.save(folder / "pneumothorax.npy", np.stack(masks) if masks else np.zeros((0, *size), dtype=bool))
    np.save(folder / "labels.npy", label_matrix(plans))
    (folder / "studies.json").write_text(json.dumps(index))


def _make_all(plans: list[PhantomPlan], config: PhantomConfig) -> Iterator[MadePhantom]:
    """Yields made studies in order, from worker processes where there is more than one chunk of work."""
    tasks = [(part, config.seed, config.size) for part in chunks(plans, CHUNK)]
    workers = min(config.workers or os.cpu_count() or 1, len(tasks))
    log.info("making %d phantoms of %d px with %d processes (once; they are kept)", len(plans), config.size, workers)
    if workers == 1:
        for task in tasks:
            yield from make_chunk(task)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        for made in pool.map(make_chunk, tasks):
            yield from made
