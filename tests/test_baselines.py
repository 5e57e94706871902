"""The encoders of a downstream task: saved, never trained, or of timm; what they are named and how they fail."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file

from flvlp.baselines import GivenEncoders, find_encoders
from flvlp.models.config import EncoderConfig
from flvlp.models.encoders import Encoders
from flvlp.saved_encoders import save_encoders
from tests.builders import CROP, REPORTS, WIDTH, encoder_config, image_config, make_batch, make_tokenizer, text_config

TRUNK = "timm:test_resnet"
PICTURES = make_batch([True, False, True])


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Looks for pre-trained weights in an empty cache, and stands in an empty folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def find(wanted: str, config: EncoderConfig | None = None, **changes: Any) -> GivenEncoders:
    common: dict[str, Any] = {"weights": "random", "seed": 0, "pretraining": Path("runs/pretrain")}
    return find_encoders(wanted, config or encoder_config(), **(common | changes))


def save(folder: Path, seed: int = 0) -> Encoders:
    torch.manual_seed(seed)
    encoders = Encoders(encoder_config()).eval()
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_encoders(folder, encoders, make_tokenizer(), has_fusion=True, training={"epoch": 3})
    return encoders


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights = one.state_dict(), other.state_dict()
    return weights[0].keys() == weights[1].keys() and all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


# --- Saved encoders ---


@pytest.mark.parametrize("folder", ["runs/pretrain/first/encoders", "runs/pretrain/first"])
def test_saved_encoders_come_back_with_their_text_and_a_name_relative_to_here(folder: str) -> None:
    encoders = save(Path("runs/pretrain/first/encoders"))
    for wanted in (folder, str(Path(folder).absolute()), f"runs/../{folder}"):
        given = find(wanted)
        assert given.name == folder
        assert same(given.views, encoders)
        assert given.with_text.encoders is given.views
        assert (given.image.resize, given.image.crop) == (CROP + 4, CROP)
        assert not given.views.training


def test_the_latest_pre_training_is_found_and_named_by_its_run() -> None:
    save(Path("runs/pretrain/first/encoders"), seed=0)
    second = save(Path("runs/pretrain/second/encoders"), seed=1)
    Path("runs/pretrain/latest").symlink_to("second")
    given = find("latest")
    assert given.name == "runs/pretrain/second"
    assert same(given.views, second)


def test_a_folder_elsewhere_is_named_without_its_place(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "long_run" / "encoders")
    names = [find(str(tmp_path / "elsewhere" / place)).name for place in ("long_run", "long_run/encoders")]
    assert names == ["long_run", "long_run/encoders"]


def test_the_hash_is_of_the_weights_alone() -> None:
    save(Path("one/encoders"))
    shutil.copytree("one", "two")
    save(Path("three/encoders"), seed=1)
    one, two, three = (find(name).sha256 for name in ("one", "two", "three"))
    assert one == two, f"{one} and {two} of equal weights"
    assert one != three
    assert len(one) == 64


def test_a_folder_that_is_not_there_is_refused_with_what_to_do() -> None:
    for wanted, shown in (("latest", r"runs/pretrain/latest"), ("no/such", "no/such"), ("randon", "randon")):
        with pytest.raises(FileNotFoundError, match=rf"no such folder \({shown}\); run `make pretrain` first.*random"):
            find(wanted)
    Path("empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no config\.json in empty; give the `encoders` folder of a run"):
        find("empty")


# --- Never trained ---


def test_random_encoders_are_a_function_of_the_seed() -> None:
    first = find("random")
    torch.manual_seed(9)
    torch.rand(3)
    again, other = find("random"), find("random", seed=1)
    assert same(first.views, again.views)
    assert first.sha256 == again.sha256
    assert not same(first.views, other.views)
    assert first.sha256 != other.sha256
    assert (first.name, first.loaded, first.image.crop) == ("random", None, CROP)
    assert not first.views.training


def test_with_reports_they_have_a_text_encoder_and_the_same_image_encoders() -> None:
    config = encoder_config(text=text_config(vocab_size=120))
    images, full = find("random", config), find("random", config, texts=lambda: REPORTS * 3)
    text = full.with_text
    assert text.encoders is full.views
    assert text.encode_reports(list(REPORTS[:2])).report.shape == (2, WIDTH)
    assert same(images.views.frontal, full.views.frontal)
    assert same(images.views.lateral_encoder, full.views.lateral_encoder)
    assert full.sha256 != images.sha256
    assert find("random", config, texts=lambda: REPORTS * 3).sha256 == full.sha256


def test_statistics_that_were_never_taken_normalise_nothing_and_are_not_kept() -> None:
    frozen = image_config(norm="frozen_batch")
    given = find("random", encoder_config(frozen, frozen))
    norms = [module for module in given.views.modules() if "Norm" in type(module).__name__]
    assert norms
    assert {type(module) for module in norms} == {torch.nn.GroupNorm}


def test_texts_are_asked_for_by_random_alone() -> None:
    def texts() -> list[str]:
        raise AssertionError("texts were read")

    save(Path("run/encoders"))
    assert find("run", texts=texts).name == "run"
    assert find(TRUNK, texts=texts).name == TRUNK


@pytest.mark.parametrize("lateral", ["resnet10t", "shared", "none"])
def test_a_bundle_of_frozen_pre_trained_trunks_is_made_at_random_and_trainable(lateral: str) -> None:
    frozen = image_config(weights="pretrained", frozen=True)
    text = text_config(weights="pretrained", frozen=True)
    config = encoder_config(frozen, replace(frozen, backbone=lateral), text)
    before = repr(config)
    given = find("random", config)
    assert not given.views.frontal.is_frozen
    assert given.views.has_lateral_encoder == (lateral != "none")
    assert all(p.requires_grad for p in given.views.parameters())
    assert repr(config) == before, "the configuration of the run was changed"


# --- Of timm ---


def test_a_trunk_of_timm_with_random_weights_serves_both_views_without_a_network() -> None:
    given = find(TRUNK)
    assert given.views.lateral is None
    assert given.views.lateral_encoder is given.views.frontal
    found = given.views.encode_views(PICTURES)
    assert found.frontal.shape == found.lateral.shape == (3, WIDTH)
    assert torch.isfinite(found.frontal).all()
    assert given.name == TRUNK
    assert same(given.views, find(TRUNK).views)
    assert given.sha256 == find(TRUNK).sha256 != find(TRUNK, seed=1).sha256


def test_a_trunk_of_timm_takes_a_file_and_keeps_the_statistics_in_it() -> None:
    torch.manual_seed(3)
    trunk: Any = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
    state = trunk.state_dict()
    save_file(state, "trunk.safetensors")
    given = find(TRUNK, weights="trunk.safetensors")
    picture = PICTURES.frontal[:1]
    encoder = given.views.frontal.train()
    features = trunk.eval().forward_features((picture.float() - encoder.mean) / encoder.std)
    torch.testing.assert_close(encoder.pooled_trunk(picture), features.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    found = given.views.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(found[f"frontal.trunk.{key}"], value), f"{key} differs after a forward in training"


@pytest.mark.parametrize(
    ("wanted", "weights", "trunk"),
    [
        ("imagenet", "pretrained", r"resnet50\.tv_in1k"),
        ("timm:test_resnet.r160_in1k", "pretrained", r"test_resnet\.r160_in1k"),
        (TRUNK, "none.pt", "test_resnet"),
    ],
)
def test_weights_that_cannot_be_loaded_are_refused_with_the_key_that_helps(
    wanted: str, weights: str, trunk: str
) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"the weights of {trunk} cannot be loaded.*set encoders_weights to a file"
    ):
        find(wanted, weights=weights)


def test_a_trunk_that_timm_does_not_know_is_refused_with_similar_names() -> None:
    with pytest.raises(ValueError, match=r"timm knows no 'resnet_x'; similar: .*resnet"):
        find("timm:resnet_x")


@pytest.mark.parametrize("wanted", [TRUNK, "random"])
def test_encoders_without_text_say_so_where_text_is_needed(wanted: str) -> None:
    with pytest.raises(ValueError, match=rf"{wanted} has no text encoder, and this task needs one; give saved"):
        _ = find(wanted).with_text
