"""From a data set's configuration to its studies."""

from flvlp.data.config import DatasetConfig, IUXrayConfig, PairsConfig, PhantomConfig
from flvlp.data.iu_xray import read_iu_xray
from flvlp.data.pairs import read_pairs
from flvlp.data.phantom.source import PhantomSource
from flvlp.types import StudySource


def build_source(config: DatasetConfig) -> StudySource:
    """Reads the list of studies; raises with file and row on bad input, before any training."""
    match config:
        case PhantomConfig():
            return PhantomSource(config)
        case PairsConfig():
            return read_pairs(config)
        case IUXrayConfig():
            return read_iu_xray(config)
    raise ValueError(f"dataset.name: no reader for {config.name!r} ({type(config).__name__})")
