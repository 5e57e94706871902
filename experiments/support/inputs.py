"""What entry points share on the data side: the data set, its tokenizer, and what of it may be shown."""

import gc
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flvlp.data.config import ImageConfig
from flvlp.data.readers.base_config import DatasetConfig, FilesConfig
from flvlp.data.readers.bounded import read_json
from flvlp.engine.lines import replace_text
from flvlp.models.config import TextEncoderConfig

if TYPE_CHECKING:
    from flvlp.data.studies import StudySource
    from flvlp.data.tokenizer import ReportTokenizer
    from flvlp.engine.log import RunLog

log = logging.getLogger(__name__)

DATA = "data.json"


def read_source(config: DatasetConfig, long_side: int, *, needs_reports: bool = False) -> "StudySource":
    """Lists the studies on every rank; rank 0 goes first, so that what is made once is made once.

    Args:
        config: of the data set.
        long_side: of the pictures in pixels; a pixel cache of this size is used as `config.cache` says.
        needs_reports: whether a data set without reports is of no use.

    Raises:
        ValueError: reports are needed and there are none; and what the readers raise.
    """
    import numpy as np

    from flvlp import distributed
    from flvlp.data.cache.reading import use_cache
    from flvlp.data.columns import laterals_of
    from flvlp.data.readers.build import build_source
    from flvlp.data.readers.files import FileSource

    if not distributed.is_main():
        distributed.barrier()
    gc.disable()  # nothing of it is garbage, and to look for some among millions of new objects takes seconds
    try:
        source = build_source(config)
    finally:
        gc.enable()
    if distributed.is_main():
        distributed.barrier()
    if needs_reports and not any(study.report for study in source.studies):
        raise ValueError(
            f"dataset.name: {config.name} has no reports, and pre-training needs them; choose one of: phantom, pairs, "
            "iu_xray, mimic_cxr"
        )
    if isinstance(source, FileSource) and isinstance(config, FilesConfig):
        use_cache(source, config, long_side, compares_files=distributed.is_main())
    laterals = np.count_nonzero(laterals_of(source.studies))
    parts = ", ".join(f"{name} {len(positions)}" for name, positions in source.splits.items())
    log.info(
        "%s: %d studies, %d with a lateral; split %s: %s",
        *(config.name, len(source.studies), laterals, source.split_name, parts),
    )
    return source


def fingerprint(source: "StudySource") -> dict[str, str]:
    """Returns what a data set is known by again: its split, and a hash of the studies and reports of each part."""
    from flvlp.data.dataset import stable_hash
    from flvlp.data.splits.patients import list_hash

    known = {"split": source.split_name}
    for part, rows in source.splits.items():
        studies = [source.studies[row] for row in rows]
        lines = [f"{one.study_id} {one.patient_id} {one.has_lateral} {stable_hash(one.report)}" for one in studies]
        known[part] = f"{len(rows)} studies, sha256 {list_hash(lines)}"
    return known


def check_same_data(folder: Path, source: "StudySource") -> None:
    """Stops a resumed run that would see other studies than it was started with.

    Args:
        folder: of the run; its `data.json` holds the fingerprint of the data.
        source: the data set as it is now.

    Raises:
        ValueError: the studies are others, or the file is damaged.
    """
    path, here = folder / DATA, fingerprint(source)
    try:
        held = read_json(path) if path.exists() else here
    except ValueError as error:
        raise ValueError(f"resume: {path} is damaged ({error}); delete it to go on without this check") from error
    if held != here:
        raise ValueError(
            f"resume: the data are not those that {folder} was started with ({held}; now {here}); set dataset.root to "
            f"the same data set, start a new run, or delete {path} to go on all the same"
        )


def write_fingerprint(folder: Path, source: "StudySource") -> None:
    """Writes `data.json` where it is not there."""
    path = folder / DATA
    if not path.exists():
        replace_text(path, json.dumps(fingerprint(source), indent=1) + "\n")


def name_of(config: DatasetConfig, source: "StudySource") -> Callable[[int], str]:
    """Returns how a study may be named in logs: its id and row, or a salted hash and the row."""
    from flvlp.data.readers.tables import hides_ids, shown

    def name_study(index: int) -> str:
        study = source.studies[index]
        return f"{shown(study.study_id, hides_ids(config))} (row {study.row})"

    return name_study


def shown_names(config: DatasetConfig, source: "StudySource", positions: Iterable[int]) -> list[str]:
    """Returns how what is left behind names each study: its id, or its number in the data set where ids must not stay.

    The same study has the same name in every run on the same data, so that runs can be compared.
    """
    from flvlp.data.readers.tables import hides_ids

    if hides_ids(config):
        return [f"#{position}" for position in positions]
    return [source.studies[position].study_id for position in positions]


def shows_images(config: DatasetConfig) -> bool:
    """Returns whether pictures of a data set may be left behind."""
    return config.log_images or not config.credentialed


def shows_text(config: DatasetConfig) -> bool:
    """Returns whether text of its reports may be."""
    return config.log_text or not config.credentialed


def show_studies(
    config: DatasetConfig, image: ImageConfig, source: "StudySource", run_log: "RunLog", count: int
) -> None:
    """Puts a few studies as the model sees them into TensorBoard, unless the data set is credentialed."""
    import numpy as np
    import torch

    from flvlp.data.images import ImageReadError
    from flvlp.data.transforms import crop_view

    part = source.splits.get("validation", source.splits["train"])
    for number, index in enumerate(part[:count]):
        study = source.studies[index]
        if shows_images(config):
            try:
                views = [source.frontal(index)] + ([source.lateral(index)] if study.has_lateral else [])
            except ImageReadError:
                if config.on_error == "raise":
                    raise
                continue
            picture = np.concatenate([crop_view(view, image, None) for view in views], axis=1)
            run_log.picture(f"studies/{number}", torch.from_numpy(picture)[None], 0)
        if shows_text(config):
            run_log.text(f"studies/{number}", study.report, 0)


def find_tokenizer(
    text: TextEncoderConfig, source: "StudySource", resumed: Path | None, init_from: str | None, credentialed: bool
) -> "ReportTokenizer":
    """Returns a run's tokenizer: a saved one, that of the pre-trained weights, or one learned from the reports.

    Args:
        text: of the encoder.
        source: whose training reports a vocabulary is learned from.
        resumed: folder of a resumed run.
        init_from: folder of saved encoders that a new run starts from.
        credentialed: see `train_tokenizer`.
    """
    from flvlp import distributed
    from flvlp.data import tokenizer as tokenizers
    from flvlp.models.text_encoder import pretrained_location

    if resumed is not None:
        return tokenizers.load_tokenizer(resumed / "tokenizer")
    if init_from is not None:
        from flvlp.saved_encoders import load_encoders

        return load_encoders(init_from).tokenizer
    if text.weights != "random":
        return tokenizers.pretrained_tokenizer(pretrained_location(text), text.max_tokens)
    reports = (source.studies[index].report for index in source.splits["train"])
    learned = tokenizers.train_tokenizer(reports, text.vocab_size, text.max_tokens, credentialed)
    return distributed.broadcast_object(learned)
