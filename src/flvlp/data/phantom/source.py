"""The phantom data set: made once, cached on disk, read through a memory map."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flvlp.data.config import PhantomConfig
from flvlp.data.phantom.findings import FINDING_NAMES
from flvlp.data.phantom.making import MadePhantom, PhantomPlan, chunks, label_matrix, make_chunk, plan_studies
from flvlp.data.reports import compose_report, split_sections
from flvlp.data.splits import split_by_patient
from flvlp.types import Study

log = logging.getLogger(__name__)

CHUNK = 25  # studies a worker makes at a time


class PhantomSource:
    """Phantom studies; implements `flvlp.types.StudySource`.

    Attributes:
        studies, splits: see `StudySource`; split by patient.
        labels: (N, C) uint8, C findings in the order of `label_names`.
        opacity_boxes: of each study, (x, y, width, height) in frontal pixels.
        raw_reports: of each study, with its section headers.
    """

    label_names = FINDING_NAMES

    def __init__(self, config: PhantomConfig) -> None:
        """Opens the cache under `config.root`, making the phantoms first where they are not there."""
        folder = cache_folder(config)
        if not folder.is_dir():
            make_cache(config, folder)
        index = json.loads((folder / "studies.json").read_text())
        self.raw_reports = [entry["report"] for entry in index]
        self.opacity_boxes = [[tuple(box) for box in entry["opacity_boxes"]] for entry in index]
        self.studies: Sequence[Study] = [
            Study(
                study_id=f"phantom-{number:06d}",
                patient_id=f"patient-{entry['patient']:06d}",
                report=compose_report(split_sections(entry["report"])),
                has_lateral=entry["lateral_row"] is not None,
            )
            for number, entry in enumerate(index)
        ]
        self.labels = np.load(folder / "labels.npy")
        patients = [study.patient_id for study in self.studies]
        self.splits = split_by_patient(patients, config.validation_fraction, config.split_seed)
        self._rows = {part: [entry[f"{part}_row"] for entry in index] for part in ("lateral", "mask")}
        self._frontals = np.load(folder / "frontal.npy", mmap_mode="r")
        self._laterals = np.load(folder / "lateral.npy", mmap_mode="r")
        self._masks = np.load(folder / "pneumothorax.npy", mmap_mode="r")

    def frontal(self, index: int) -> np.ndarray:
        """Returns the frontal view (S, S) uint8."""
        return np.asarray(self._frontals[index])

    def lateral(self, index: int) -> np.ndarray:
        """Returns the lateral view (S, S) uint8."""
        return np.asarray(self._laterals[self._rows["lateral"][index]])

    def pneumothorax_mask(self, index: int) -> np.ndarray:
        """Returns where the frontal view shows a pneumothorax, (S, S) bool."""
        row = self._rows["mask"][index]
        return np.zeros_like(self._frontals[index], dtype=bool) if row is None else np.asarray(self._masks[row])


def cache_folder(config: PhantomConfig) -> Path:
    """Returns the folder of these phantoms; another seed, size, number or version of this package is another folder."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    settings = f"{config.studies} {config.size} {config.seed} {code.hexdigest()}"
    return Path(config.root) / hashlib.sha256(settings.encode()).hexdigest()[:16]


def make_cache(config: PhantomConfig, folder: Path) -> None:
    """Makes all phantoms in parallel and moves the finished folder to its place; nothing half-written stays.

    Raises:
        OSError: the disk has no room for them.
    """
    plans = plan_studies(config.studies, config.seed)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        _check_room(temporary, 2 * config.studies * config.size**2)
        _write_phantoms(plans, config, temporary)
        try:
            temporary.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_room(folder: Path, needed: int) -> None:
    """Raises `OSError` when the disk cannot take `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"dataset.root: {folder.parent} has {free / 2**30:.1f} GiB free, the phantoms need up to "
            f"{needed / 2**30:.1f}; point dataset.root to another disk, or lower dataset.studies"
        )


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
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for made in pool.map(make_chunk, tasks):
            yield from made
