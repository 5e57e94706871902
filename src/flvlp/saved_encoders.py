"""Encoders on their own: safetensors + config + tokenizer, written by pre-training and read by everything else."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor

from flvlp.data.config import ImageConfig
from flvlp.data.images import read_image
from flvlp.data.tokenizer import ReportTokenizer, load_tokenizer
from flvlp.data.transforms import crop_view
from flvlp.models.config import EncoderConfig, ImageEncoderConfig, RecipeConfig, ReportsConfig, TextEncoderConfig
from flvlp.models.encoders import Encoders
from flvlp.types import TextFeatures

FORMAT = 1


@dataclass
class LoadedEncoders:
    """What `load_encoders` gives: the encoders in evaluation mode, their tokenizer, and how their input is made.

    Attributes:
        encoders: `encode_image`, `encode_lateral`, `encode_text`, `fuse`.
        tokenizer: of the reports.
        image: sizes of the pictures.
        has_fusion: False when nothing trained the fused head (itc.weight=0).
        training: where they come from: step, epoch, and the validation figures of that epoch.
    """

    encoders: Encoders
    tokenizer: ReportTokenizer
    image: ImageConfig
    has_fusion: bool = True
    training: dict[str, Any] = field(default_factory=dict)

    def pixels(self, image: Path | str | np.ndarray) -> Tensor:
        """Returns the centre crop of a file or an array (H, W) uint8 as the encoders take it, (1, 1, H, W) uint8."""
        picture = image if isinstance(image, np.ndarray) else read_image(Path(image))
        return torch.from_numpy(crop_view(picture, self.image, None).copy())[None, None]

    @torch.no_grad()
    def encode_reports(self, reports: list[str]) -> TextFeatures:
        """Encodes reports; see `Encoders.encode_text`."""
        pieces = [torch.from_numpy(self.tokenizer.encode(report).tokens) for report in reports]
        tokens = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=self.tokenizer.pad_id)
        lengths = torch.tensor([len(piece) for piece in pieces])
        device = self.encoders.fusion.no_lateral.device
        is_token = torch.arange(tokens.shape[1]) < lengths[:, None]
        return self.encoders.encode_text(tokens.to(device), is_token.to(device))


def save_encoders(
    folder: Path, encoders: Encoders, tokenizer: ReportTokenizer, has_fusion: bool, training: dict[str, Any]
) -> None:
    """Writes a folder that `load_encoders` reads; an older one at this place is replaced whole.

    Args:
        folder: becomes `encoders.safetensors`, `config.json`, `tokenizer/`.
        encoders: the module.
        tokenizer: of the reports.
        has_fusion: whether the fused head was trained.
        training: provenance, plain JSON values.

    Raises:
        OSError: they cannot be written; the older ones stay.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    content = {
        "format": FORMAT,
        "encoder": asdict(encoders.config),
        "text_architecture": encoders.text.architecture,
        "has_fusion": has_fusion,
        "training": training,
    }
    try:
        save_model(encoders, str(temporary / "encoders.safetensors"))
        (temporary / "config.json").write_text(json.dumps(content, indent=2) + "\n")
        tokenizer.save(temporary / "tokenizer")
    except (SafetensorError, OSError) as error:  # the first is what safetensors makes of a full disk
        shutil.rmtree(temporary, ignore_errors=True)  # half of it would keep the room that later ones need
        raise OSError(f"save_encoders: {temporary}: {error}") from error
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_encoders(folder: Path | str) -> LoadedEncoders:
    """Loads encoders that pre-training saved, in evaluation mode on the CPU; no network, no code is executed.

    Args:
        folder: `runs/pretrain/<run>/encoders`, or the run folder itself.

    Raises:
        FileNotFoundError: the folder holds no encoders.
        ValueError: a format that this version does not know, or files that are damaged.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder / "encoders" / "config.json").is_file():
        folder = folder / "encoders"
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"load_encoders: no config.json in {folder}; give the `encoders` folder of a run")
    try:
        content = json.loads((folder / "config.json").read_text())
        version = content["format"]
        if version == FORMAT:
            return _load(folder, content)
    except (PermissionError, TimeoutError, ImportError, MemoryError):
        raise  # nothing is wrong with the files
    # What damaged files lead to in JSON, in the classes of the configuration, in safetensors and in tokenizers.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        raise ValueError(f"load_encoders: {folder} is damaged ({reason}); copy it again, or save it anew") from error
    raise ValueError(f"load_encoders: format {version} in {folder}; this version reads {FORMAT}")


def _load(folder: Path, content: dict[str, Any]) -> LoadedEncoders:
    config = encoder_config(content["encoder"])
    encoders = Encoders(config, text_architecture=content["text_architecture"])
    load_model(encoders, str(folder / "encoders.safetensors"))
    image = ImageConfig(resize=config.resize, crop=config.crop)
    tokenizer = load_tokenizer(folder / "tokenizer")
    return LoadedEncoders(encoders.eval(), tokenizer, image, content["has_fusion"], content["training"])


def encoder_config(saved: dict[str, Any]) -> EncoderConfig:
    """Returns the configuration that saved encoders were built with."""
    text = dict(saved["text"])
    reports = ReportsConfig(**text.pop("reports", {}))  # older encoders have none
    return EncoderConfig(
        frontal=ImageEncoderConfig(**saved["frontal"]),
        lateral=ImageEncoderConfig(**saved["lateral"]),
        text=TextEncoderConfig(**text, reports=reports),
        recipe=RecipeConfig(**saved["recipe"]),
        **{key: saved[key] for key in ("width", "resize", "crop")},
    )
