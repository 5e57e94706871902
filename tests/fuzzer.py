"""Feeds readers with bytes that a coverage-guided fuzzer makes; outside of the test suite.

pip install atheris
python tests/fuzzer.py picture <folder of first examples> -max_total_time=300
# or report, run_lengths, table, archive (Open-i's), annotation (R2Gen's), reports_zip (MIMIC's), configuration
"""

import contextlib
import gzip
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris  # type: ignore
from omegaconf.errors import OmegaConfBaseException

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
with atheris.instrument_imports(include=["flvlp", "pydicom", "support", "tarfile", "zipfile"]):
    import pretrain
    from flvlp.data.images import ImageReadError, image_size, read_image
    from flvlp.data.readers.config import MimicCxrConfig, PairsConfig
    from flvlp.data.readers.iu_reports import r2gen_texts, xml_texts
    from flvlp.data.readers.mimic_reports import open_reports
    from flvlp.data.readers.pairs import read_pairs
    from flvlp.data.readers.rle import decode_absolute, decode_relative
    from flvlp.data.reports import compose_report, split_sections
    from support.entry import read_config, typed

FOLDER = Path(tempfile.mkdtemp())


def picture(content: bytes) -> None:
    """Reads them as a picture of any format."""
    path = FOLDER / "a.dcm"
    path.write_bytes(content)
    for read in (read_image, image_size):
        with contextlib.suppress(ImageReadError):
            read(path)


def report(content: bytes) -> None:
    """Splits and composes a report; nothing may be raised."""
    for policy in ("both", "impression", "findings", "longer"):
        composed = compose_report(split_sections(content.decode(errors="replace")), policy)
        assert composed == " ".join(composed.split())


def run_lengths(content: bytes) -> None:
    """Decodes a mask."""
    for decode in (decode_absolute, decode_relative):
        with contextlib.suppress(ValueError):
            assert decode(content.decode(errors="replace"), (7, 9)).shape == (7, 9)


def table(content: bytes) -> None:
    """Reads a table of studies."""
    path = FOLDER / "table.csv"
    path.write_bytes(content)
    with contextlib.suppress(ValueError, FileNotFoundError):
        read_pairs(PairsConfig(name="pairs", csv=str(path), patient_column="patient", label_columns=["effusion"]))


def archive(content: bytes) -> None:
    """Reads Open-i's reports; as a tar, packed, and as one file of the folder."""
    path, folder = FOLDER / "reports.tgz", FOLDER / "reports"
    path.write_bytes(gzip.compress(content, 0))
    folder.mkdir(exist_ok=True)
    (folder / "1.xml").write_bytes(content)
    for place in (path, folder):
        with contextlib.suppress(ValueError):
            xml_texts(place, "both")


def annotation(content: bytes) -> None:
    """Reads R2Gen's list of studies."""
    path = FOLDER / "annotation.json"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        r2gen_texts(path, "both", hides=False)


def reports_zip(content: bytes) -> None:
    """Reads a report of MIMIC-CXR out of its zip file."""
    (FOLDER / "mimic-cxr-reports.zip").write_bytes(content)
    with (
        contextlib.suppress(ValueError),
        open_reports(MimicCxrConfig(name="mimic_cxr"), FOLDER, FOLDER, False) as reports,
    ):
        reports.text(1, "files/p10/p10000001/s50000001.txt")


def configuration(content: bytes) -> None:
    """Reads the configuration of a run that is resumed."""
    path = FOLDER / "config.yaml"
    path.write_bytes(content)
    with contextlib.suppress(ValueError, OmegaConfBaseException):
        typed(pretrain.Args, read_config(path))


TARGETS = (picture, report, run_lengths, table, archive, annotation, reports_zip, configuration)

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    target = {one.__name__: one for one in TARGETS}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
