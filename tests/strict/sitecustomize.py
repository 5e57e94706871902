"""Read by every Python that a test starts (`tests.conftest.environment`): a warning of our own code is an error.

PYTHONWARNINGS could not say it: it takes whole names of modules, and no beginnings.
"""

import tomllib
import warnings
from pathlib import Path

settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
for line in settings["tool"]["pytest"]["ini_options"]["filterwarnings"]:
    action, _, category, module = line.split(":")
    if not category:
        warnings.filterwarnings(action, module=module)
