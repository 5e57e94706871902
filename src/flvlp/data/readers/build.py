"""From a data set's configuration to its studies."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from flvlp.data.phantom.source import PhantomSource
from flvlp.data.phantom.standin import make_standin
from flvlp.data.readers import chexpert, covidx, iu_xray, mimic_cxr, ms_cxr, nih14, object_cxr, rsna, siim
from flvlp.data.readers.base_config import PHANTOM_ROOT, DatasetConfig, PublishedConfig
from flvlp.data.readers.config import PairsConfig, PhantomConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.pairs import read_pairs
from flvlp.data.studies import StudySource

STANDIN_MARK = "@phantom"  # ends the split name of a stand-in, so that every result row says what it is

# The reader, and what a download must hold for it.
READERS: dict[str, tuple[Callable[[Any], FileSource], Callable[[Any], tuple[Expected, ...]]]] = {
    "mimic_cxr": (mimic_cxr.read_mimic_cxr, mimic_cxr.layout),
    "iu_xray": (iu_xray.read_iu_xray, iu_xray.layout),
    "chexpert": (chexpert.read_chexpert, chexpert.layout),
    "nih14": (nih14.read_nih14, nih14.layout),
    "rsna": (rsna.read_rsna, rsna.layout),
    "covidx": (covidx.read_covidx, covidx.layout),
    "siim": (siim.read_siim, siim.layout),
    "object_cxr": (object_cxr.read_object_cxr, object_cxr.layout),
    "ms_cxr": (ms_cxr.read_ms_cxr, ms_cxr.layout),
}


def build_source(config: DatasetConfig) -> StudySource:
    """Reads the list of studies; raises with file and row on bad input, before any training.

    With `root=phantom` a published set is read from its stand-in, which is made first where it is not there.
    """
    with _without_collecting():
        match config:
            case PhantomConfig():
                return PhantomSource(config)
            case PairsConfig():
                return read_pairs(config)
            case PublishedConfig() if config.name in READERS:
                read, _ = READERS[config.name]
                source = read(on_disk(config))
                if config.root == PHANTOM_ROOT:
                    source.split_name += STANDIN_MARK
                return source
    raise ValueError(f"dataset.name: no reader for {config.name!r} ({type(config).__name__})")


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Keeps Python from searching the growing lists for cycles again and again: a sixth of the time of a large set."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def on_disk(config: PublishedConfig) -> PublishedConfig:
    """Returns the configuration with a folder for `root=phantom`: that of the stand-in, which is made where needed."""
    return replace(config, root=str(make_standin(config))) if config.root == PHANTOM_ROOT else config
