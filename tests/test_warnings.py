"""A warning of our own code is an error in every test, and in every process that a test starts."""

import subprocess
import sys
import warnings

import pytest

from tests.conftest import ROOT, environment

OURS = ["flvlp", "flvlp.metrics.coco", "support.board", *sorted(path.stem for path in ROOT.glob("experiments/*.py"))]
OVERFLOW = "import numpy as np; np.float32(1e38) * np.float32(1e38)"
DEPRECATED = "import warnings; warnings.warn('old', DeprecationWarning)"


@pytest.mark.parametrize("module", OURS)
def test_a_warning_in_our_own_modules_is_an_error(module: str) -> None:
    for line, kind in ((OVERFLOW, RuntimeWarning), (DEPRECATED, DeprecationWarning)):
        with pytest.raises(kind):
            exec(line, {"__name__": module})  # noqa: S102 - the line above


@pytest.mark.parametrize("module", ["pandas.core", "flvlp_x", "reporting"])
def test_a_warning_of_another_package_is_none(module: str) -> None:
    with warnings.catch_warnings(record=True):  # pytest.warns would set another filter before ours
        exec(OVERFLOW, {"__name__": module})  # noqa: S102 - the line above


@pytest.mark.parametrize(("module", "is_error"), [("flvlp.metrics.coco", True), ("support.board", True), ("x", False)])
def test_so_it_is_in_a_process_that_a_test_starts(module: str, *, is_error: bool) -> None:
    script = f"exec({OVERFLOW!r}, {{'__name__': {module!r}}})"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
    )
    assert "RuntimeWarning: overflow" in done.stderr, done.stderr
    assert done.returncode == is_error, done.stderr
