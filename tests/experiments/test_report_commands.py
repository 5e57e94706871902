"""How a report says that its rows are made again: commands as they are typed, and links to the runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hydra import initialize_config_dir

from support.reporting.commands import Composer, overrides_of, relative_command
from support.reporting.configs import GROUPS, moving
from support.reporting.reproduce import commands_of, made_from
from tests.experiments.conftest import CONF
from tests.experiments.made_runs import NoComposer, make, pretrain, write_config


def test_no_path_of_the_machine_is_in_a_command() -> None:
    words = [
        "/opt/venv/bin/python",
        "/opt/flvlp/experiments/pretrain.py",
        "encoders='/home/x/runs/a b'",
        "dataset.root=/data",
    ]
    said = relative_command(words, Path("/home/x"))
    assert said == """python experiments/pretrain.py "encoders='runs/a b'" dataset.root=/data""", said
    quoted = relative_command(
        ["", "experiments/zeroshot.py", "encoders='/home/x/runs/a'", "then={a: [b]}"], Path("/home/x")
    )
    assert quoted == "python experiments/zeroshot.py encoders=runs/a 'then={a: [b]}'", quoted


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    """Composes from conf/."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield Composer()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["encoder/lateral=none", "loss.itc.weight=0"], ["encoder/lateral=none", "loss.itc.weight=0"]),
        (["masking=random"], ["masking=random"]),
        (["loss=itc", "engine.lr=0.001", "seed=3"], ["loss=itc", "engine.lr=0.001"]),
        (
            ["experiment=short_job", "experiment/ablation=no_global"],
            ["experiment=short_job", "experiment/ablation=no_global"],
        ),
        (["dataset=pairs", "dataset.csv=/data/x.csv"], ["dataset=pairs", "dataset.csv=/data/x.csv"]),
    ],
)
def test_a_row_is_made_again_by_few_overrides(composer: Composer, overrides: list[str], expected: list[str]) -> None:
    config = composer.compose(tuple(overrides))
    assert config is not None
    found = overrides_of(config, composer)
    again = composer.compose(tuple(found))
    assert again is not None and moving(again, GROUPS) == moving(config, GROUPS)
    assert found == expected, f"{found}, enough are {expected}"


def test_a_link_leads_to_a_folder_whatever_its_letters(tmp_path: Path) -> None:
    folder = pretrain(tmp_path / "lr #1 50%20x?" / "seed_0", name="a")
    row = make(tmp_path).rows[0]
    ((link, name), *_) = made_from(row.members[0], tmp_path / "report").links
    assert (tmp_path / "report" / unquote(link)).resolve() == folder and name == "seed_0"
    assert not set(link) & set("#? ") and "%2520" in link


def test_commands_say_how_many_processes_a_row_was_trained_by(tmp_path: Path) -> None:
    for name, launch in (("torchrun", "local"), ("launched", "torchrun")):
        for seed in (0, 1):
            folder = pretrain(tmp_path / name / f"seed_{seed}", name=name, seed=seed, loss={"mlm": len(launch)})
            write_config(folder, json.loads((folder / "config.yaml").read_text()) | {"launch": {"name": launch}})
            (start,) = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps([start | {"world_size": 4}]))
    commands = {row.name: dict(commands_of(row, NoComposer())) for row in make(tmp_path).rows}
    wanted = "python experiments/pretrain.py -m launch=torchrun launch.nproc_per_node=4 "
    assert all(said["this row, every seed"].startswith(wanted) for said in commands.values()), commands
    assert commands["torchrun"]["as it was started"] == (
        "torchrun --nproc_per_node=4 experiments/pretrain.py loss=full seed=0"
    )
    assert commands["launched"]["as it was started"] == "python experiments/pretrain.py loss=full seed=0"
