"""Files of weights that are none: one error that names the file and what to give, whatever is in it."""

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import nn

from flvlp.models.trunk_weights import load_trunk


def trunk() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def saved(path: Path, content: Any) -> None:
    torch.save(content, path)


def packed(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"garbage")


def cut(path: Path) -> None:
    torch.save(trunk().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-300])


BAD: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "nothing": ("a.pt", lambda path: path.write_bytes(b""), "cannot be read (EOFError)"),
    "text": ("a.pt", lambda path: path.write_text("<html>not found</html>"), "cannot be read ("),
    "a zip file of something else": ("a.pt", packed, "cannot be read ("),
    "a cut file": ("a.pt", cut, "cannot be read ("),
    "a whole model": ("a.pt", lambda path: saved(path, trunk()), "cannot be read (UnpicklingError)"),
    "a call": ("a.pt", lambda path: path.write_bytes(pickle.dumps(print)), "cannot be read ("),
    "nothing as safetensors": ("a.safetensors", lambda path: path.write_bytes(b""), "cannot be read ("),
    "a huge header": (
        "a.safetensors",
        lambda path: path.write_bytes(struct.pack("<Q", 2**60) + b"{}"),
        "cannot be read (SafetensorError)",
    ),
    "a list": ("a.pt", lambda path: saved(path, [1, 2]), "holds no tensors by name but a list"),
    "a tensor": ("a.pt", lambda path: saved(path, torch.ones(2)), "holds no tensors by name but a Tensor"),
    "numbers by name": ("a.pt", lambda path: saved(path, {"0.weight": 3}), "holds no tensors by name but a dict"),
    "tensors by number": ("a.pt", lambda path: saved(path, {0: torch.ones(2)}), "holds no tensors by name but a dict"),
    "something in a wrapper": ("a.pt", lambda path: saved(path, {"model": 3}), "holds no tensors by name but a int"),
    "another shape": (
        "a.pt",
        lambda path: saved(path, {**trunk().state_dict(), "0.weight": torch.ones(7, 3)}),
        "1 tensors have another shape (such as ['0.weight (7, 3) in place of (2, 3)'])",
    ),
    "keys of another model": (
        "a.pt",
        lambda path: saved(path, {"0.weight": torch.ones(2, 3), "x": torch.ones(1)}),
        "unexpected 1 (such as ['x'])",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_holds_no_weights_of_this_trunk_is_an_error_with_what_to_give(what: str, tmp_path: Path) -> None:
    name, write, words = BAD[what]
    write(tmp_path / name)
    with pytest.raises(ValueError) as caught:
        load_trunk(trunk(), tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f"encoder.<view>.weights: {tmp_path / name} ")
    assert words in message
    assert "give this model's state dict" in message
    assert "weights_only" not in message, "PyTorch's advice runs the code of the file"


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_damaged_files_are_refused_or_fit(suffix: str, tmp_path: Path) -> None:
    state, path = trunk().state_dict(), tmp_path / f"a.{suffix}"
    torch.save(state, path) if suffix == "pt" else save_file(state, path)
    whole = path.read_bytes()

    @settings(max_examples=60, deadline=None)
    @given(
        st.binary(max_size=100)
        | st.tuples(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=8)).map(
            lambda drawn: whole[: drawn[0]] + drawn[1] + whole[drawn[0] + len(drawn[1]) :]
        )
    )
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            load_trunk(trunk(), path)
        except ValueError as error:
            assert str(error).startswith(f"encoder.<view>.weights: {path} ")

    check()


def test_a_file_from_before_batch_norm_counted_its_steps_is_loaded(tmp_path: Path) -> None:
    state = {key: value + 1 for key, value in trunk().state_dict().items() if "num_batches" not in key}
    (tmp_path / "a.safetensors").write_bytes(save(state))
    loaded = trunk()
    load_trunk(loaded, tmp_path / "a.safetensors")
    for key, value in state.items():
        assert torch.equal(loaded.state_dict()[key], value), f"{key} differs from the file"
