"""The presets of sweeps: each row differs from `full` in what its name says, and no two jobs share a folder."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[1] / "conf"
ROWS: dict[str, dict[str, Any]] = {  # what of the configuration is not that of `full`, beside the name
    "full": {},
    "itc": {f"loss.{term}.weight": 0.0 for term in ("mlm", "view_alignment", "prototype")},
    "published": {
        "loss.view_alignment.weight": 1.0,
        "loss.view_alignment.negatives": "words",
        "loss.prototype.weight": 1.0,
        "loss.prototype.start_epoch": 0.0,
    },
    "no_key_semantics": {"heads.key_semantics": False},
    "text_by_contrast": {"heads.words_train_text": False},
    "no_view_alignment": {"loss.view_alignment.weight": 0.0},
    "no_prototypes": {"loss.prototype.weight": 0.0},
    "no_global": {"loss.itc.weight": 0.0, "engine.best_metric": "retrieval/frontal/r1"},
    "random_15": {"masking.kind": "random", "masking.rate": 0.15, "masking.replace": "bert"},
    "random_equal_rate": {"masking.kind": "random"},
    "frontal_only": {"encoder.lateral.backbone": "none"},
}
UNUSED = tuple(
    f"encoder.lateral.{key}" for key in ("backbone_args", "adapter", "norm")
)  # where there is no lateral encoder
SWEEPS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if "sweeper" in path.read_text())


@cache  # composing takes half a second
def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("pretrain", overrides=list(overrides), return_hydra_config=True)


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {path: node}
    return {key: leaf for name, part in node.items() for key, leaf in leaves(part, f"{path}.{name}".strip(".")).items()}


def values(*overrides: str) -> dict[str, Any]:
    cfg = composed(*overrides)
    kept = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return leaves(OmegaConf.to_container(kept, resolve=True))


def choices_of(sweep: str) -> list[str]:
    """Returns what the jobs of a preset differ in."""
    (param,) = composed(f"experiment={sweep}").hydra.sweeper.params.items()
    (parsed,) = OverridesParser.create().parse_overrides(["=".join(param)])
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def test_every_row_of_the_ablation_is_a_file_and_every_file_is_run() -> None:
    assert {path.stem for path in (CONF / "experiment" / "ablation").glob("*.yaml")} == set(ROWS)
    assert choices_of("ablation_terms") == [f"experiment/ablation={row}" for row in ROWS]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_differs_from_full_in_what_its_name_says(row: str) -> None:
    full = values("experiment=ablation_terms", "experiment/ablation=full")
    found = values("experiment=ablation_terms", f"experiment/ablation={row}")
    different = {key: found.get(key) for key in full | found if found.get(key) != full.get(key)}
    assert different.pop("name", "full") == row
    if row == "frontal_only":
        different = {key: value for key, value in different.items() if not key.startswith(UNUSED)}
    assert different == ROWS[row]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_jobs_of_a_sweep_have_a_folder_and_a_name_of_their_own(sweep: str) -> None:
    jobs = [composed(f"experiment={sweep}", choice) for choice in choices_of(sweep)[:2]]
    one, two = (f"{job.hydra.sweep.dir}/{job.hydra.sweep.subdir}" for job in jobs)
    assert one != two, "the second job would find the run of the first"
    assert one == f"{jobs[0].hydra.sweep.dir}/{jobs[0].name}/seed_0", "another seed must have another folder"
    assert len({jobs[0].name, jobs[1].name, ""}) == 3, "tables call a row by its name"


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_folder_of_a_sweep_is_the_same_at_every_start(sweep: str) -> None:
    text = (CONF / "experiment" / f"{sweep}.yaml").read_text()
    assert "dir: runs/pretrain/sweeps/" in text and "${now:" not in text, "finished jobs would not be found again"
