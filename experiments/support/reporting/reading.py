"""One run folder as it lies on disk: the run, or why it cannot be counted."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from support.reporting.configs import read_config, short_hash
from support.reporting.folders import CONFIG, FAILED
from support.reporting.runs import PretrainRun, Problem, TaskRun

RESULT, METRICS, FINISHED, DATA = "result.json", "metrics.jsonl", "finished.json", "data.json"
PICTURE = "explain.png"  # of a study that was only looked at, which has no figures
# What every row of a task says, and what it is.
RESULT_KEYS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "dataset", "split", "encoders", "headline"), str),
    **dict.fromkeys(("images", "figures"), dict),
    "patients": int,
    "label_fraction": (int, float),
}
_FINISHED_AT = re.compile(r"finished at step (\d+)")
_Content = TypeVar("_Content", dict[str, Any], list[Any])


def read_run(folder: Path) -> PretrainRun | TaskRun | Problem | None:
    """Returns a run, or why it is none that can be counted; None for a folder of something else."""
    try:
        return _read(folder)
    except (OSError, ValueError) as error:  # half a file, or one of another program
        return Problem(folder, "damaged", _shown(str(error).replace(f"{folder}/", "")))


def broken_task(folder: Path) -> Problem | None:
    """Returns what broke after a pre-training had ended: one of its tasks."""
    if not (folder / FAILED).exists():  # every start removes it
        return None
    return Problem(folder, "broken", f"counted, but for a task: {_why_broken(folder)}")


def _read(folder: Path) -> PretrainRun | TaskRun | Problem | None:
    """Reads a folder.

    Raises:
        OSError, ValueError: a file of it cannot be read, or does not hold what a run writes.
    """
    if (folder / FAILED).exists() and not (folder / FINISHED).exists():
        return Problem(folder, "broken", _why_broken(folder))
    config = read_config(folder / CONFIG)
    groups = {key.partition(".")[0] for key in config}
    if not isinstance(config.get("seed", 0), int):
        raise _damaged(CONFIG, f"seed={config['seed']!r}")
    if {"encoders", "task"} <= groups:
        if not (folder / RESULT).exists():
            return None if (folder / PICTURE).exists() else Problem(folder, "unfinished", f"no {RESULT}")
        return TaskRun(folder, config, _result(folder / RESULT), _starts(folder))
    if not {"loss", "engine"} <= groups:
        return None
    records = list(_records(folder / METRICS))
    if reason := _why_unfinished(folder, records):
        return Problem(folder, "unfinished", reason)
    weights = folder / "encoders" / "encoders.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None
    return PretrainRun(folder, config, records, _starts(folder), _seconds(folder), digest, _data(folder))


def _read_json(path: Path, kind: type[_Content]) -> _Content:
    """Returns what a file of JSON holds.

    Raises:
        ValueError: it is damaged, or holds something else than an object or a list, whichever is asked for.
    """
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise _damaged(path.name, str(error)) from error
    if not isinstance(content, kind):
        raise _damaged(path.name, f"holds a {type(content).__name__}, not a {kind.__name__}")
    return content


def _result(path: Path) -> dict[str, Any]:
    """Returns the row of a task."""
    row = _read_json(path, dict)
    wrong = [key for key, kind in RESULT_KEYS.items() if not isinstance(row.get(key), kind)]
    if not isinstance(row.get("split_sha256", {}), dict):
        wrong.append("split_sha256")
    if not wrong:
        wrong += [name for name, value in row["figures"].items() if not isinstance(value, int | float | None)]
        wrong += ["images.tested"] * ("tested" not in row["images"])
    if wrong:
        raise _damaged(path.name, f"without a value that fits: {', '.join(wrong)}")
    return row


def _data(folder: Path) -> str:
    """Returns what `data.json` knows the data by, as `mimic_cxr/official (0a1b2c3d)`; "" without it."""
    path = folder / DATA
    if not path.exists():
        return ""
    known = _read_json(path, dict)
    if "split" not in known:
        raise _damaged(DATA, "no split in it")
    return f"{known.pop('split')} ({short_hash(known)})"


def _damaged(file: str, why: str) -> ValueError:
    return ValueError(f"{file} is damaged ({why})")


def _why_broken(folder: Path) -> str:
    """Returns the last line of `failed.txt`."""
    lines = (folder / FAILED).read_text(errors="replace").strip().splitlines() or ["no reason given"]
    return _shown(lines[-1])


def _shown(reason: str) -> str:
    """Returns a reason without the place of the working directory."""
    return reason.replace(f"{Path.cwd()}/", "")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of `metrics.jsonl` up to one that was never finished."""
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            return
        is_record = isinstance(record, dict) and isinstance(record.get("part"), str)
        if not is_record or not all(isinstance(value, int | float) for key, value in record.items() if key != "part"):
            raise _damaged(path.name, f"line {number} is no record")
        yield record


def _why_unfinished(folder: Path, records: list[dict[str, Any]]) -> str:
    """Returns why a pre-training run counts as unfinished, "" for one that ended."""
    if (folder / FINISHED).exists():
        return ""
    step = max((int(record["step"]) for record in records), default=0)
    log = folder / "log.txt"
    ends = _FINISHED_AT.findall(log.read_text(errors="replace")) if log.exists() else []
    if not ends:
        return f"stopped at step {step}"
    return f"went on after step {ends[-1]} and stopped at step {step}" if step > int(ends[-1]) else ""


def _starts(folder: Path) -> list[dict[str, Any]]:
    path = folder / "run.json"
    starts: list[dict[str, Any]] = _read_json(path, list) if path.exists() else []
    for start in starts:
        if not isinstance(start, dict) or not isinstance(start.get("command"), list):
            raise _damaged(path.name, "a start without its command")
        if not isinstance(start.get("world_size", 1), int):
            raise _damaged(path.name, f"world_size={start['world_size']!r}")
    return starts


def _seconds(folder: Path) -> float | None:
    path = folder / FINISHED
    seconds = _read_json(path, dict).get("seconds") if path.exists() else None
    if not isinstance(seconds, int | float | None):
        raise _damaged(path.name, f"seconds={seconds!r}")
    return seconds
