"""Runs entry points as a user does, with what a test wants to know of them.

Those of one process are forked from one that has imported everything: imports cost more than most runs of a test. Each
is a process of its own, with the command line, environment, folder and output that `subprocess.run` gives it. A test
asks for a fresh one where only that shows what it is about: what is left to `atexit`, what hangs on the order of a set
or the address of an object (all that are forked share them), what is imported too late or in a circle.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context, set_start_method
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
IMPORTED = (
    "pretrain",
    *(f"flvlp.{name}" for name in ("engine.setup", "engine.train", "validation", "losses.total", "saved_encoders")),
    *("torch._dynamo", "torch.utils.tensorboard", "transformers.models.bert.modeling_bert", "matplotlib.figure"),
)


def run_entry(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], *, is_fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs the command line of an entry point to its end, five minutes at most, and returns what it printed."""
    if command[1].endswith(".py") and not is_fresh:
        return _run_warm(command, cwd, environment)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def _run_warm(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        process = context.Process(target=_run, args=(command, cwd, dict(environment), outputs))
        before = dict(os.environ)
        os.environ.update(environment)
        os.environ["PYTHONPATH"] = os.pathsep.join((str(EXPERIMENTS), environment["PYTHONPATH"]))
        try:
            process.start()  # the first one starts the process that imports
        finally:
            os.environ.clear()
            os.environ.update(before)
        process.join(300)
        if process.exitcode is None:
            process.kill()
            process.join()
        said = [path.read_text() for path in outputs]
        assert process.exitcode is not None
        return subprocess.CompletedProcess(command, process.exitcode, *said)


def _run(command: Sequence[str], cwd: Path, environment: dict[str, str], outputs: Sequence[Path]) -> None:
    set_start_method(None, force=True)  # that of a fresh process, for its data workers
    _, script, *arguments = command
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
