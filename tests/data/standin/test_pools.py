"""A pool can be drawn from a stand-in, so that what tests on one can be tried without the data."""

import logging
from pathlib import Path

import pytest

from flvlp.data.readers.build import build_source
from flvlp.data.readers.config import DATASET_CONFIGS

# Large enough that each of the five classes is alone in some study.
STANDIN = {"standin_studies": 300, "standin_size": 32}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the phantoms of both data sets."""
    return tmp_path_factory.mktemp("pools")


@pytest.mark.parametrize("name", ["chexpert", "mimic_cxr"])
def test_a_5x200_can_be_drawn_from_a_stand_in(name: str, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"name": name, "standin_root": str(root), "split": f"{name}/5x200", **STANDIN}
    with caplog.at_level(logging.WARNING, logger="flvlp"):
        source = build_source(DATASET_CONFIGS[name](**settings))  # type: ignore[arg-type]
    assert source.labels is not None
    pool = source.splits["test"]
    assert len(pool) >= 5
    assert source.split_name == f"{name}/5x{len(pool) // 5}-drawn@phantom"
    assert "a pool of 5 x" in caplog.text
    assert {source.studies[row].patient_id for row in pool}.isdisjoint(
        source.studies[row].patient_id for row in source.splits["train"]
    )
