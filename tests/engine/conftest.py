"""Two processes are started once for all tests of this folder."""

from typing import Any

import pytest
from torch import multiprocessing

from tests.engine import ranks


@pytest.fixture(scope="package")
def rank_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Returns what the two ranks of `ranks.work` found."""
    folder = tmp_path_factory.mktemp("two ranks")
    multiprocessing.spawn(ranks.work, args=(str(folder),), nprocs=ranks.RANKS)
    return ranks.read(folder)
