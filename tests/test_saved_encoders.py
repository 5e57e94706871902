"""Encoders on their own: written whole, read back equal, refused where they do not fit."""

import json
import random
from pathlib import Path

import pytest
import torch

from flvlp import load_encoders
from flvlp.models.encoders import Encoders
from flvlp.saved_encoders import save_encoders
from tests.builders import encoder_config, image_config, make_tokenizer
from tests.processes import largest_file


def saved(folder: Path, lateral: str = "") -> Encoders:
    torch.manual_seed(0)
    config = encoder_config(lateral=image_config(backbone=lateral)) if lateral else encoder_config()
    encoders = Encoders(config).eval()
    save_encoders(folder, encoders, make_tokenizer(), has_fusion=True, training={"step": 3})
    return encoders


@pytest.mark.parametrize("lateral", ["", "shared", "none"])
def test_every_kind_of_lateral_encoder_comes_back_equal(tmp_path: Path, lateral: str) -> None:
    encoders = saved(tmp_path / "encoders", lateral)
    loaded = load_encoders(tmp_path / "encoders")
    assert loaded.encoders.state_dict().keys() == encoders.state_dict().keys()
    for name, value in encoders.state_dict().items():
        assert torch.equal(loaded.encoders.state_dict()[name], value), f"{name} differs"
    assert not loaded.encoders.training
    assert loaded.training == {"step": 3}
    assert loaded.encoders.config == encoders.config


def test_a_second_save_replaces_the_first_and_leaves_nothing_else(tmp_path: Path) -> None:
    saved(tmp_path / "encoders")
    saved(tmp_path / "encoders")
    assert [path.name for path in tmp_path.iterdir()] == ["encoders"]


@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("has_weights", [True, False])
def test_a_disk_without_room_keeps_the_older_ones_and_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, has_weights: bool
) -> None:
    before = saved(tmp_path / "encoders").state_dict()
    if not has_weights:  # the first file that finds no room is the configuration, or one of the tokenizer
        monkeypatch.setattr("flvlp.saved_encoders.save_model", lambda _, path: Path(path).touch())
    with largest_file(size), pytest.raises(OSError, match=r"save_encoders: .*\.encoders\.tmp: .*File too large"):
        saved(tmp_path / "encoders")
    assert [path.name for path in tmp_path.iterdir()] == ["encoders"]
    after = load_encoders(tmp_path / "encoders").encoders.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_run_folder_may_be_named_instead(tmp_path: Path) -> None:
    saved(tmp_path / "encoders")
    assert load_encoders(tmp_path).image == load_encoders(tmp_path / "encoders").image


def test_a_wrong_folder_or_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the `encoders` folder of a run"):
        load_encoders(tmp_path)
    saved(tmp_path / "encoders")
    path = tmp_path / "encoders" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_encoders(tmp_path / "encoders")


@pytest.mark.parametrize("name", ["config.json", "encoders.safetensors", "tokenizer/tokenizer.json"])
def test_damaged_files_are_refused_and_never_half_loaded(tmp_path: Path, name: str) -> None:
    whole = saved(tmp_path / "encoders").state_dict()
    path = tmp_path / "encoders" / name
    content = path.read_bytes()
    for draw in range(25):
        chance = random.Random(draw)
        damaged = bytearray(content)
        place = chance.randrange(min(len(damaged), 4000))  # headers; a flipped bit of a weight is a weight
        damaged[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(1, 4))
        path.write_bytes(damaged if draw % 3 else content[:place])
        try:
            loaded = load_encoders(tmp_path / "encoders")
        except ValueError as error:
            assert "is damaged" in str(error) or "format" in str(error), repr(error)
            assert str(tmp_path / "encoders") in str(error)
        else:
            assert loaded.encoders.state_dict().keys() == whole.keys()
