"""The README is true: its tree is the disk's, and the files it links exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_tree_names_every_source_file_once_and_no_other() -> None:
    named = re.findall(r"^((?:src/flvlp|experiments)/\S+\.py)\s", README, flags=re.MULTILINE)
    here = [*(ROOT / "src" / "flvlp").rglob("*.py"), *(ROOT / "experiments").glob("*.py")]
    on_disk = sorted(str(path.relative_to(ROOT)) for path in here)
    assert sorted(named) == on_disk, f"only in one of them: {set(named) ^ set(on_disk)}"


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing, f"README links to {missing}"


def test_the_two_first_commands_are_the_two_that_set_everything_up() -> None:
    commands = re.findall(r"^make \S+$", README, flags=re.MULTILINE)
    assert commands[:2] == ["make pretrain", "make test"]
