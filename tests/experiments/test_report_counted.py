"""What of the runs on disk a report counts, and what it keeps apart: broken ones, other data, other encoders."""

import os
from pathlib import Path

from tests.experiments.made_runs import make, pretrain


def test_a_run_that_finished_after_it_broke_is_counted(tmp_path: Path) -> None:
    for name, at in (("again", 5), ("at_once", 9), ("broke", 10)):
        folder = pretrain(tmp_path / name, name=name, seed=at)
        (folder / "failed.txt").write_text("RuntimeError: out of memory\n")
        for file, when in (("failed.txt", at), ("finished.json", 9)):
            os.utime(folder / file, (when, when))
    report = make(tmp_path)
    assert sorted(name for row in report.rows for name in row.name.split(" = ")) == ["again", "at_once"]
    assert [(Path(one.where).name, one.state) for one in report.problems if one.folder] == [("broke", "broken")]
