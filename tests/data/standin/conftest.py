"""Fixtures: a few small phantoms, rendered once, and the stand-ins written from them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flvlp.data.phantom.source import PhantomSource
from flvlp.data.phantom.standin import make_standin
from flvlp.data.readers.base_config import PublishedConfig
from flvlp.data.readers.build import build_source
from flvlp.data.readers.config import DATASET_CONFIGS, PhantomConfig
from flvlp.data.studies import StudySource

STUDIES, SIZE, SEED = 48, 64, 1

Configure = Callable[..., PublishedConfig]


@pytest.fixture(scope="session")
def standin_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder where the stand-ins of this test session are kept."""
    return tmp_path_factory.mktemp("standins")


@pytest.fixture(scope="session")
def phantoms(standin_root: Path) -> PhantomSource:
    """The phantoms that all stand-ins are made of."""
    root = str(standin_root / "phantoms")
    return PhantomSource(PhantomConfig("phantom", root, studies=STUDIES, size=SIZE, seed=SEED, workers=1))


@pytest.fixture(scope="session")
def configure(standin_root: Path, phantoms: PhantomSource) -> Configure:
    """Returns the configuration of a data set whose stand-in is made of `phantoms`; asking for them renders them."""

    def build(name: str, **changes: object) -> PublishedConfig:
        small = {"standin_root": str(standin_root), "standin_studies": STUDIES, "standin_size": SIZE}
        config = DATASET_CONFIGS[name](**{"name": name, **small, "standin_seed": SEED, **changes})  # type: ignore[arg-type]
        assert isinstance(config, PublishedConfig)
        return config

    return build


@pytest.fixture(scope="session")
def folder_of(configure: Configure) -> Callable[[str], Path]:
    """Returns the folder of a data set's stand-in."""
    return lambda name: make_standin(configure(name))


@pytest.fixture(scope="session")
def source_of(configure: Configure) -> Callable[..., StudySource]:
    """Returns a data set as the reader of the real files reads its stand-in."""
    return lambda name, **changes: build_source(configure(name, **changes))
