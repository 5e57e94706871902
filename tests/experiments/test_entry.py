"""What the command line says and a run does not use is told."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.types import RunMode

import pretrain
from flvlp.data.config import MaskingConfig
from flvlp.data.readers.config import PairsConfig
from flvlp.models.encoders import Encoders
from flvlp.saved_encoders import save_encoders
from support import entry
from tests.builders import encoder_config, make_tokenizer


def command_line(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    """Makes Hydra say that these overrides were given."""
    state = SimpleNamespace(overrides=SimpleNamespace(task=list(overrides)), mode=RunMode.RUN)
    monkeypatch.setattr(entry, "HydraConfig", SimpleNamespace(initialized=lambda: True, get=lambda: state))


@pytest.mark.parametrize("override", ["encoder=paper", "encoder.crop=96", "encoder/text=minilm", "+encoder.text.x=1"])
def test_a_group_is_overridden_by_its_choice_and_by_its_keys(monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    command_line(monkeypatch, "seed=1", override)
    assert entry.is_overridden("encoder")


@pytest.mark.parametrize("override", ["encoders=random", "encoders_weights=random", "task.model.encoder_mode=finetune"])
def test_a_name_that_begins_alike_is_another(monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    command_line(monkeypatch, override)
    assert not entry.is_overridden("encoder")


@pytest.mark.parametrize(
    ("encoders", "overrides", "is_said"),
    [("saved", ("encoder.crop=96",), True), ("saved", (), False), ("random", ("encoder.crop=96",), False)],
)
def test_a_bundle_given_beside_saved_encoders_is_said_to_be_unused(
    monkeypatch: pytest.MonkeyPatch,
    task: Callable[..., Path],
    tmp_path: Path,
    *,
    encoders: str,
    overrides: tuple[str, ...],
    is_said: bool,
) -> None:
    torch.manual_seed(0)
    save_encoders(tmp_path / "saved", Encoders(encoder_config()).eval(), make_tokenizer(), True, {})
    command_line(monkeypatch, *overrides)
    wanted = str(tmp_path / "saved") if encoders == "saved" else encoders
    folder = task("classify", f"encoders={wanted}", "task.fit.max_steps=1", "task.fit.num_workers=0")
    assert ("encoder: not used" in (folder / "log.txt").read_text()) == is_said


def test_a_task_leaves_the_kernel_of_attention_as_a_fresh_process_has_it(task: Callable[..., Path]) -> None:
    task("classify", "task.fit.max_steps=1", "task.fit.num_workers=0", "task.fit.precision=bf16")
    assert torch.backends.cuda.flash_sdp_enabled()


def test_hyperparameters_are_flat_and_hold_nothing_that_a_resumed_run_may_change() -> None:
    args = pretrain.Args(
        dataset=PairsConfig(name="pairs", csv="x" * 200), masking=MaskingConfig(kind="random", rate=0.15)
    )
    flat = entry.hyperparameters(args)
    assert flat["masking.rate"] == 0.15
    assert flat["loss.mlm.weight"] == 1.0
    assert flat["engine.betas"] == "(0.9, 0.999)"
    assert flat["init_from"] == "null"
    assert set(flat) & set(entry.FREE_ON_RESUME) == {"engine.max_steps"}
    assert "dataset.csv" not in flat, "too long for a column"
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())


@pytest.mark.parametrize(
    "content",
    [b"", b"3", b"[1, 2]", b"seed: [", b"\xff\xfe\x00", b"a: ${b", b"? {}", b"[" * 5000],
    ids=lambda content: repr(content[:9]),
)
def test_a_damaged_configuration_of_a_run_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged") as caught:
        entry.read_config(path)
    assert str(path) in str(caught.value)
