"""Feeds readers with bytes that a coverage-guided fuzzer makes; outside of the test suite.

pip install atheris
python tests/fuzzer.py picture <folder of first examples> -max_total_time=300    # or report, run_lengths, table
"""

import contextlib
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris  # type: ignore

with atheris.instrument_imports(include=["flvlp", "pydicom"]):
    from flvlp.data.images import ImageReadError, image_size, read_image
    from flvlp.data.readers.config import PairsConfig
    from flvlp.data.readers.pairs import read_pairs
    from flvlp.data.readers.rle import decode_absolute, decode_relative
    from flvlp.data.reports import compose_report, split_sections

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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    target = {one.__name__: one for one in (picture, report, run_lengths, table)}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
