"""Small files of a run folder: written whole or not at all, and line by line without costing a run that has no room."""

import errno
import json
import logging
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def replace_text(path: Path, text: str) -> None:
    """Writes a file of text, see `replace_bytes`."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Writes a file beside `path` and renames it: a kill, or a disk without room, leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Appends a line of JSON. One that finds no room on the disk is said, leaves no half line, and costs no run."""
    line = (json.dumps(record) + "\n").encode()
    try:
        with path.open("ab", buffering=0) as file:
            _write_whole(file, line)
    except OSError as error:
        log.error(  # noqa: TRY400 - nothing is wrong with this program
            "%s: the line of step %s is NOT written (%s); make room on the disk", path.name, record.get("step"), error
        )


def _write_whole(file: FileIO, content: bytes) -> None:
    """Writes all of it at the end of an unbuffered file, or raises OSError and leaves the file as it was."""
    end = file.tell()
    try:
        if file.write(content) < len(content):  # what a disk that becomes full meanwhile does
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301
    except OSError:
        file.truncate(end)
        raise


def cut_lines(path: Path, last_step: int, redone: str = "") -> None:
    """Drops the records of a JSON-lines file that lie beyond `last_step`, and a line that was never finished.

    Args:
        path: of the file; none is none.
        last_step: optimiser steps that the checkpoint holds.
        redone: part whose records of `last_step` itself will be written again; "" for none.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        is_redone = record["step"] == last_step and redone and record.get("part") == redone
        if record["step"] <= last_step and not is_redone:
            kept.append(line + "\n")
    replace_text(path, "".join(kept))
