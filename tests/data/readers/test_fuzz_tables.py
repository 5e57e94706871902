"""Every table, list and text of every reader: read, or refused with an error that is documented, whatever its bytes."""

import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flvlp.data.images import ImageReadError
from flvlp.data.readers.build import build_source
from flvlp.data.readers.config import MimicCxrConfig
from flvlp.data.readers.labels import CHEXPERT14
from tests.data.damaged import PIECES, damaged
from tests.data.readers.leaky_trees import SECRET, TABLES, damage, read_all, write_tree
from tests.data.readers.mimic_folder import MimicFolder

EXAMPLES = 20


class Fuzzed(NamedTuple):
    """A file that is damaged.

    Attributes:
        tree: key of `TABLES`, or mimic_cxr.
        file: its name.
        files: that the tree does not have of its own, by name.
        knobs: that make the reader read it; a path is below the root.
    """

    tree: str
    file: str
    files: dict[str, str] = {}  # noqa: RUF012 - never changed
    knobs: dict[str, str | Path] = {}  # noqa: RUF012


MIMIC = ("metadata", "split", "chexpert")
MAPPING = [{"subset_img_id": f"leak{number}", "img_id": f"0000000{number}_001.png"} for number in (1, 2)]
ANNOTATION = {"train": [{"id": "CXRleak1_IM-1", "report": "leak: odd", "image_path": ["leak1.png"]}]}
XML = '<eCitation><uId id="CXRleak1"/><AbstractText Label="FINDINGS">leak: odd</AbstractText></eCitation>'
TESTED = f"Study,{','.join(CHEXPERT14)}\nC/test/patientleak9/study1{',0' * 14}\n"
POOLED = "train/patientleak0/study1/view1_frontal.jpg"
OFFICIAL = {"train_val_list.txt": "leak1.png\n", "test_list.txt": "leak2.png\n"}
LISTS = {f"lists/{part}.txt": f"leak{number}.png 1\n" for part, number in (("train", 1), ("val", 2), ("test", 3))}
POOLS = {"pool.csv": f"Path\n{POOLED}\n", "pool.json": json.dumps([{"Path": POOLED}]), "pool.txt": f"{POOLED}\n"}
JSON = "pneumonia-challenge-dataset-mappings_2018.json"
FILES = [
    *(Fuzzed(tree, file) for tree, files in TABLES.items() for file in files if tree != "pairs"),
    *(Fuzzed("mimic_cxr", f"mimic-cxr-2.0.0-{table}.csv") for table in MIMIC),
    *(Fuzzed("nih14", file, OFFICIAL, {"split": "nih14/official"}) for file in OFFICIAL),
    *(Fuzzed("nih14", file, LISTS, {"split": "nih14/lists", "split_lists": Path("lists")}) for file in LISTS),
    Fuzzed("rsna", JSON, {JSON: json.dumps(MAPPING)}),
    Fuzzed("chexpert", "groundtruth.csv", {"groundtruth.csv": TESTED}, {"split": "chexpert/official"}),
    *(Fuzzed("chexpert", file, POOLS, {"split": "chexpert/5x200", "pool": Path(file)}) for file in POOLS),
    Fuzzed("iu_xray", "1.xml", {"1.xml": XML}, {"text": "xml"}),
    Fuzzed(
        *("iu_xray", "annotation.json", {"annotation.json": json.dumps(ANNOTATION)}),
        {"text": "r2gen", "split": "iu_xray/r2gen"},
    ),
]
SECRETS = (SECRET, "5000010", "1000000", "Clear lungs")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def read(root: Path, fuzzed: Fuzzed, **more: Any) -> None:
    """Reads the tree with all that it holds."""
    knobs = {key: str(root / knob) if isinstance(knob, Path) else knob for key, knob in fuzzed.knobs.items()} | more
    if fuzzed.tree != "mimic_cxr":
        read_all(root, fuzzed.tree, **knobs)
        return
    source = build_source(MimicCxrConfig(**{"name": "mimic_cxr", "root": str(root), **knobs}))
    for index in range(len(source.studies)):
        source.frontal(index)


def write(root: Path, fuzzed: Fuzzed) -> None:
    """Writes the whole tree without fault."""
    if fuzzed.tree == "mimic_cxr":
        MimicFolder(root, is_packed=False).write_reports()
    else:
        write_tree(root, fuzzed.tree)
    damage(root, fuzzed.files)
    if "groundtruth.csv" in fuzzed.files:
        damage(root, {"test/patientleak9/study1/view1_frontal.jpg": (root / POOLED).read_bytes()})


@pytest.mark.parametrize("fuzzed", FILES, ids=lambda fuzzed: f"{fuzzed.tree}-{fuzzed.file}")
def test_a_file_is_read_or_refused_with_an_error_that_is_documented(fuzzed: Fuzzed, tmp_path: Path) -> None:
    write(tmp_path, fuzzed)
    path = tmp_path / fuzzed.file
    packed = path.with_name(f"{path.name}.gz")
    whole = path.read_bytes()
    forms = (
        ["plain", "packed", "packed and damaged"] if path.suffix == ".csv" and "pool" not in path.name else ["plain"]
    )
    read(tmp_path, fuzzed)

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        content=damaged(whole, PIECES) | damaged(whole) | st.binary(max_size=200),
        form=st.sampled_from(forms),
        cut=st.integers(0, 60),
        missing=st.sampled_from(["raise", "drop"]),
        hides=st.booleans(),
    )
    def check(content: bytes, form: str, cut: int, missing: str, hides: bool) -> None:
        path.unlink(missing_ok=True)
        packed.unlink(missing_ok=True)
        if form == "plain":
            path.write_bytes(content)
        else:
            squeezed = gzip.compress(content)
            packed.write_bytes(squeezed if form == "packed" else squeezed[:cut] + b"\xff" + squeezed[cut + 1 :])
        try:
            read(tmp_path, fuzzed, missing_images=missing, credentialed=hides)
        except (FileNotFoundError, ValueError) as error:
            message = str(error)
            assert str(tmp_path) in message or "dataset." in message or isinstance(error, ImageReadError), repr(error)
            assert not (hides and any(secret in message for secret in SECRETS)), message

    check()
