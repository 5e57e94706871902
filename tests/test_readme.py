"""The README is true: its tree is that of the disk, and the files it links exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_tree_names_every_folder_and_every_file_beside_them_and_no_other() -> None:
    named = re.findall(r"^((?:src/flvlp|experiments)/\S+)\s", README, flags=re.MULTILINE)
    roots = (ROOT / "src" / "flvlp", ROOT / "experiments")
    folders = {path.parent for root in roots for path in root.rglob("*.py")} - {*roots}
    files = [*(ROOT / "src" / "flvlp").glob("[!_]*.py"), *(ROOT / "experiments").glob("*.py")]
    on_disk = {f"{path.relative_to(ROOT)}/" for path in folders} | {str(path.relative_to(ROOT)) for path in files}
    assert len(named) == len(set(named))
    assert set(named) == on_disk, f"only in one of them: {set(named) ^ on_disk}"


def test_the_first_line_of_every_file_says_what_it_is() -> None:
    files = [*(ROOT / "src" / "flvlp").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    silent = [
        str(path.relative_to(ROOT)) for path in files if path.read_text() and not path.read_text().startswith('"""')
    ]
    assert not silent, f"no docstring: {silent}"


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing, f"README links to {missing}"


def test_the_two_first_commands_are_the_two_that_set_everything_up() -> None:
    commands = re.findall(r"^make \S+$", README, flags=re.MULTILINE)
    assert commands[:2] == ["make pretrain", "make test"]
