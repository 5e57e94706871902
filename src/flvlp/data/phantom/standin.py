"""Stand-ins: phantoms written as each data set's publisher lays out its files, read by the reader of the real ones."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from flvlp.data import reports
from flvlp.data.phantom.layouts import chexpert, covidx, iu_xray, mimic_cxr, ms_cxr, nih14, object_cxr, rsna, siim
from flvlp.data.phantom.making_once import make_once
from flvlp.data.phantom.source import PhantomSource, code_hash
from flvlp.data.readers import rle
from flvlp.data.readers.base_config import PublishedConfig
from flvlp.data.readers.config import PhantomConfig
from flvlp.data.splits import patients

log = logging.getLogger(__name__)

FEWEST_STUDIES = 10  # fewer leave parts without patients
WRITERS: dict[str, Callable[[Path, PhantomSource], None]] = {
    "mimic_cxr": mimic_cxr.write,
    "iu_xray": iu_xray.write,
    "chexpert": chexpert.write,
    "nih14": nih14.write,
    "rsna": rsna.write,
    "covidx": covidx.write,
    "siim": siim.write,
    "object_cxr": object_cxr.write,
    "ms_cxr": ms_cxr.write,
}
# A picture, 1.3 views a study, links or not; PNG of noise has a little more than a byte a pixel.
_BYTES_A_PIXEL = 4
_BYTES_A_STUDY = 40_000


def make_standin(config: PublishedConfig) -> Path:
    """Returns the folder of a data set's stand-in, which is made first where it is not there.

    The phantoms are made once for all data sets and kept in `phantoms` beside the stand-ins. Every file has the name,
    header, ids and values of the publisher's; no content of theirs is in it. Boxes and run lengths are of the published
    size where that is fixed, so that the pictures are resized copies. The same settings give the same bytes.

    Raises:
        ValueError: a data set without a layout, or too few studies.
        OSError: the disk has no room.
    """
    if config.name not in WRITERS:
        raise ValueError(
            f"dataset.name: no stand-in for {config.name!r}; there is one for: {', '.join(WRITERS)}; set dataset.root "
            "to a folder of files"
        )
    if config.standin_studies < FEWEST_STUDIES:
        raise ValueError(
            f"dataset.standin_studies: {config.standin_studies} leave parts of the split empty; at least "
            f"{FEWEST_STUDIES} are needed; the default is 1000"
        )
    folder = standin_folder(config)
    if folder.is_dir():
        log.info("%s: a stand-in made of %d phantoms is read from %s", config.name, config.standin_studies, folder)
        return folder
    phantoms = PhantomSource(
        PhantomConfig(
            name="phantom",
            root=str(Path(config.standin_root) / "phantoms"),
            studies=config.standin_studies,
            size=config.standin_size,
            seed=config.standin_seed,
        )
    )
    log.info(
        "%s: writing a stand-in of %d phantoms of %d px, in the publisher's layout, to %s (once; it is kept)",
        *(config.name, config.standin_studies, config.standin_size, folder),
    )
    needed = config.standin_studies * (_BYTES_A_PIXEL * config.standin_size**2 + _BYTES_A_STUDY)
    what = f"the stand-in for {config.name}"
    make_once(folder, needed, what, lambda temporary: WRITERS[config.name](temporary, phantoms))
    return folder


def standin_folder(config: PublishedConfig) -> Path:
    """Returns the folder of a stand-in; other settings, or another version of the code that makes it, have another."""
    # Layouts too, and what they use of the rest of the package.
    files = [*Path(__file__).parent.rglob("*.py"), *(Path(str(used.__file__)) for used in (rle, reports, patients))]
    settings = f"{config.standin_studies} {config.standin_size} {config.standin_seed} {code_hash(files)}"
    return Path(config.standin_root) / f"{config.name}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"
