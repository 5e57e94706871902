"""The encoders of a downstream task: those that pre-training saved, or others to compare them with."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flvlp.data.config import ImageConfig
from flvlp.data.tokenizer import train_tokenizer
from flvlp.models.config import SHARED, EncoderConfig, ImageEncoderConfig
from flvlp.models.encoders import Encoders, ViewEncoders
from flvlp.saved_encoders import LoadedEncoders, load_encoders

IMAGENET = "timm:resnet50.tv_in1k"  # what the field's rows named ImageNet start from
LATEST = "latest"


@dataclass(frozen=True, slots=True)
class GivenEncoders:
    """Encoders in evaluation mode, and where they come from.

    Attributes:
        name: as asked for.
        views: the image encoders; of `loaded`, where that is there.
        image: sizes of the pictures they take.
        sha256: of their weights.
        loaded: with text encoder and fused image side; None for a trunk of timm.
        folder: of saved encoders.
    """

    name: str
    views: ViewEncoders
    image: ImageConfig
    sha256: str
    loaded: LoadedEncoders | None = None
    folder: Path | None = None

    def describe(self) -> dict[str, Any]:
        """Returns what they are made of: rows of other trunks or picture sizes are no comparison."""
        config = self.views.config
        trunks = {
            view: {"backbone": one.backbone, "norm": one.norm, "weights": _origin(one.weights)}
            for view, one in (("frontal", config.frontal), ("lateral", config.lateral))
        }
        return {**trunks, "resize": self.image.resize, "crop": self.image.crop}

    @property
    def with_text(self) -> LoadedEncoders:
        """The encoders of images and reports.

        Raises:
            ValueError: these know no text.
        """
        if self.loaded is None:
            raise ValueError(
                f"encoders: {self.name} has no text encoder, and this task needs one; give saved encoders (latest, or "
                "a folder), or random"
            )
        return self.loaded


def find_encoders(
    wanted: str,
    config: EncoderConfig,
    *,
    weights: str,
    seed: int,
    pretraining: Path,
    texts: Callable[[], Sequence[str]] = tuple,
) -> GivenEncoders:
    """Finds or makes the encoders that a task asks for.

    Args:
        wanted: `latest` (the last pre-training), a folder of saved encoders or of a run, `random` (the bundle of
            `config`, never trained), `timm:<name>` (one trunk of timm for both views), or `imagenet` (timm's ResNet-50
            with torchvision's weights).
        config: the bundle of `random`; the picture sizes of everything that is not saved.
        weights: of a timm trunk: `pretrained`, `random`, or a file.
        seed: of random weights.
        pretraining: folder of the pre-training runs.
        texts: gives the texts that the vocabulary of `random` is learned from; asked for only then.

    Raises:
        FileNotFoundError: no such folder, or weights that cannot be loaded; with what to do.
        ValueError: an unknown trunk.
    """
    if wanted == "random":
        return _random(config, seed, texts())
    if wanted == "imagenet" or wanted.startswith("timm:"):
        return _of_timm(wanted, config, weights, seed)
    folder = pretraining / LATEST if wanted == LATEST else Path(wanted)
    if not folder.exists():
        raise FileNotFoundError(
            f"encoders: no such folder ({folder}); run `make pretrain` first, or set encoders to a run folder, random, "
            "imagenet or timm:<name>"
        )
    loaded = load_encoders(folder)
    file = folder / "encoders.safetensors"
    file = file if file.is_file() else folder / "encoders" / "encoders.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return GivenEncoders(_shown(folder), loaded.encoders, loaded.image, digest, loaded, file.parent)


def _shown(folder: Path) -> str:
    """Returns the folder relative to the working directory; its name, or that of its run, where it lies elsewhere."""
    place = folder.resolve()
    if place.is_relative_to(Path.cwd()):
        return str(place.relative_to(Path.cwd()))
    return f"{place.parent.name}/{place.name}" if place.name == "encoders" else place.name


def _random(config: EncoderConfig, seed: int, texts: Sequence[str]) -> GivenEncoders:
    """Returns the bundle of `config` as it is before any training."""
    torch.manual_seed(seed)
    untrained = replace(
        config,
        frontal=replace(config.frontal, weights="random", frozen=False, norm=_untrained_norm(config.frontal.norm)),
        lateral=replace(config.lateral, weights="random", frozen=False, norm=_untrained_norm(config.lateral.norm)),
        text=replace(config.text, weights="random", frozen=False),
    )
    image = ImageConfig(resize=config.resize, crop=config.crop)
    if not texts:
        views = ViewEncoders(untrained).eval()
        return GivenEncoders("random", views, image, _digest(views))
    tokenizer = train_tokenizer(texts, config.text.vocab_size, config.text.max_tokens, credentialed=False)
    encoders = Encoders(untrained, len(tokenizer)).eval()
    return GivenEncoders("random", encoders, image, _digest(encoders), LoadedEncoders(encoders, tokenizer, image))


def _of_timm(wanted: str, config: EncoderConfig, weights: str, seed: int) -> GivenEncoders:
    """Returns one trunk of timm for both views; BatchNorm keeps the statistics it was trained with."""
    torch.manual_seed(seed)
    name = (IMAGENET if wanted == "imagenet" else wanted).removeprefix("timm:")
    norm = _untrained_norm("frozen_batch") if weights == "random" else "frozen_batch"
    trunk = ImageEncoderConfig(backbone=name, weights=weights, norm=norm)
    bundle = replace(config, frontal=trunk, lateral=ImageEncoderConfig(backbone=SHARED))
    try:
        views = ViewEncoders(bundle).eval()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"encoders: the weights of {name} cannot be loaded (encoders_weights={weights}); without a network set "
            "encoders_weights to a file of them (.safetensors or a state dict .pt), or to random"
        ) from error
    image = ImageConfig(resize=config.resize, crop=config.crop)
    return GivenEncoders(wanted, views, image, _digest(views.frontal.trunk))  # the projection is nobody's


def _untrained_norm(norm: str) -> str:
    """Returns the norm of a trunk without weights: statistics that were never taken normalise nothing."""
    return "group" if norm == "frozen_batch" else norm


def _origin(weights: str) -> str:
    """Returns where a trunk's weights came from; of a file its name."""
    return weights if weights in ("pretrained", "random") else Path(weights).name


def _digest(module: nn.Module) -> str:
    """Returns the sha256 of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
