"""SIIM-ACR Pneumothorax, stage 1, as its first download was laid out."""

from pathlib import Path

import numpy as np

from flvlp.data.phantom.layouts.chance import uuid
from flvlp.data.phantom.layouts.files import table_text, write_dicom, write_text
from flvlp.data.phantom.layouts.nih14 import PUBLISHED_SIZE
from flvlp.data.phantom.layouts.parts import one_of_each_patient
from flvlp.data.phantom.layouts.rsna import header_of
from flvlp.data.phantom.source import PhantomSource
from flvlp.data.readers.rle import encode_relative

HEADER = "ImageId, EncodedPixels"
NOTHING = "-1"
IN_TWO_ROWS = 3  # one mask in so many is written as two objects
UNLABELLED = 12  # one picture in so many is in the challenge's test folder, which has no rows
WITHOUT_ROW = 100  # one training picture in so many is not in the table (37 of 10,712 are not)


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes one study of each patient: DICOM files below a folder a study and a series, and the table of masks.

    The challenge knows no patients, so each is there once, with a pneumothorax where one of the studies shows it. Masks
    are of the published 1024 x 1024 pixels, relative run lengths down the columns. The header has a space, as
    published; a picture without a mask has `-1`. Some masks come in two rows, a few training pictures have no row.
    """
    rows: list[tuple[str, str]] = []
    for count, index in enumerate(one_of_each_patient(phantoms, "pneumothorax")):
        plan = phantoms.plans[index]
        header = header_of(phantoms, plan, uuid(phantoms.seed, "siim", index))
        texts = texts_of(phantoms, index)
        is_labelled = texts != [NOTHING] or count % UNLABELLED != UNLABELLED // 2
        top = "dicom-images-train" if is_labelled else "dicom-images-test"
        write_dicom(folder / top / header.study / header.series / f"{header.sop}.dcm", phantoms.frontal(index), header)
        if is_labelled and (texts != [NOTHING] or count % WITHOUT_ROW != WITHOUT_ROW // 10):
            rows += [(header.sop, text) for text in texts]
    write_text(folder / "train-rle.csv", table_text(HEADER, rows))


def texts_of(phantoms: PhantomSource, index: int) -> list[str]:
    """Returns the run lengths of each object of a study, `-1` alone where there is none."""
    mask = published(phantoms.pneumothorax.of(index))
    if not mask.any():
        return [NOTHING]
    middle = int(np.median(mask.nonzero()[0])) + 1
    upper, lower = mask.copy(), mask.copy()
    upper[middle:], lower[:middle] = False, False
    parts = [upper, lower] if phantoms.plans[index].patient % IN_TWO_ROWS == 0 and lower.any() else [mask]
    return [encode_relative(part) for part in parts]


def published(mask: np.ndarray) -> np.ndarray:
    """Returns a mask (S, S) bool at the published size, each pixel the nearest of the given ones."""
    nearest = np.arange(PUBLISHED_SIZE) * len(mask) // PUBLISHED_SIZE
    return mask[nearest][:, nearest]
