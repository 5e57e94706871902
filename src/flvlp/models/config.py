"""Knobs of the model. Imports nothing heavy, so that a misspelt key answers at once."""

from dataclasses import dataclass, field, replace
from typing import Any

from flvlp.checks import check_choice, check_fields

ADAPTERS = ("linear", "mlp")
NORMS = ("as_is", "group", "frozen_batch", "sync_batch")
POOLS = ("cls", "mean")
SHARED, NONE = "shared", "none"  # values of `lateral.backbone` that are no timm name
REPORTS = "reports"  # value of `text.weights`


@dataclass
class TrunkConfig:
    """What image and text encoders share.

    Attributes:
        weights: `pretrained`, `random`, or a file or folder.
        frozen: keep the trunk as it is. null freezes it unless its weights are random.
    """

    weights: str = "pretrained"
    frozen: bool | None = False

    def __post_init__(self) -> None:
        if self.frozen and self.weights == "random":
            raise ValueError("encoder.<part>.frozen: a trunk with random weights must be trained; set frozen=false")

    @property
    def is_frozen(self) -> bool:
        """True when the trunk gets no gradient."""
        return self.weights != "random" if self.frozen is None else self.frozen


@dataclass
class ImageEncoderConfig(TrunkConfig):
    """One view's encoder.

    Attributes:
        backbone: any timm model that gives a token grid or a feature map; for the lateral view also `shared` (the
            frontal encoder itself) or `none` (frontal-only training).
        backbone_args: further arguments of the timm model, such as `channels` or `output_stride`.
        weights: as in `TrunkConfig`: timm's, or a file (.safetensors, or a state dict .pt / .pth).
        adapter: `linear`, or `mlp` = Linear-Tanh-Linear-LayerNorm (docs/paper.md section 1, lateral).
        norm: what becomes of BatchNorm: `as_is`, `group`, `frozen_batch` (running statistics, never updated) or
            `sync_batch` (statistics over all ranks).
    """

    backbone: str = "vit_base_patch16_clip_224"
    backbone_args: dict[str, Any] = field(default_factory=dict)
    adapter: str = "linear"
    norm: str = "as_is"

    def __post_init__(self) -> None:
        TrunkConfig.__post_init__(self)
        check_choice("encoder.<view>.adapter", self.adapter, ADAPTERS)
        check_choice("encoder.<view>.norm", self.norm, NORMS)


@dataclass
class ReportsConfig:
    """How a text encoder is pre-trained on the training reports alone, by masked language modelling.

    Attributes:
        root: folder that keeps what was made, so that it is made once.
        epochs, batch_size, lr: of AdamW; a tenth of the steps warms up, then cosine to 0.
        rate: share of the words that are masked.
    """

    root: str = "cache/text"
    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-3
    rate: float = 0.3

    def __post_init__(self) -> None:
        check_fields(self, "encoder.text.reports", "[1, inf)", "epochs", "batch_size")
        check_fields(self, "encoder.text.reports", "(0, inf)", "lr")
        check_fields(self, "encoder.text.reports", "(0, 1)", "rate")


@dataclass
class TextEncoderConfig(TrunkConfig):
    """The report encoder, a BERT.

    Attributes:
        name: hub name of the pre-trained weights and their tokenizer.
        package: installed Python package whose `model` folder holds them instead; "" for none.
        weights: as in `TrunkConfig`; with `random` the word-piece vocabulary is learned from the training reports, with
            `reports` the weights are, too (see `ReportsConfig`), a folder is one in Hugging Face layout (weights and
            tokenizer).
        reports: how, with `weights=reports`.
        pool: report feature from `cls`, or the `mean` over real tokens.
        max_tokens: reports are cut to this many pieces, [CLS] and [SEP] included.
        vocab_size, hidden_size, layers, heads, intermediate_size, dropout: architecture of `random` and `reports`.
    """

    name: str = ""
    package: str = ""
    pool: str = "cls"
    max_tokens: int = 128
    vocab_size: int = 28996
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    intermediate_size: int = 3072
    dropout: float = 0.1
    reports: ReportsConfig = field(default_factory=ReportsConfig)

    def __post_init__(self) -> None:
        TrunkConfig.__post_init__(self)
        check_choice("encoder.text.pool", self.pool, POOLS)
        sizes = ("vocab_size", "hidden_size", "layers", "heads", "intermediate_size")
        check_fields(self, "encoder.text", "[1, inf)", *sizes)
        check_fields(self, "encoder.text", "[3, inf)", "max_tokens")  # [CLS], a piece, [SEP]
        check_fields(self, "encoder.text", "[0, 1)", "dropout")


@dataclass
class RecipeConfig:
    """Optimisation that suits a bundle of encoders; `conf/engine` takes its values from here.

    Attributes:
        lr: of pre-trained trunks.
        new_lr_scale: factor on `lr` for everything that does not come from a pre-trained trunk.
        epochs, warmup_epochs, batch_size: as named; batch_size is per rank and micro-batch.
        prototypes, queue, lateral_negatives: see `HeadsConfig`; they go with the batch and the size of the data.
        prototype_start_epoch: see `flvlp.losses.config.PrototypeConfig`.
    """

    lr: float = 1e-5
    new_lr_scale: float = 5.0
    epochs: int = 50
    warmup_epochs: float = 5.0
    batch_size: int = 32
    prototypes: int = 500
    queue: int = 0
    lateral_negatives: int = 2
    prototype_start_epoch: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "encoder.recipe", "(0, inf)", "lr", "new_lr_scale")
        check_fields(self, "encoder.recipe", "[1, inf)", "epochs", "batch_size", "prototypes")
        least_0 = ("warmup_epochs", "queue", "lateral_negatives", "prototype_start_epoch")
        check_fields(self, "encoder.recipe", "[0, inf)", *least_0)


@dataclass
class EncoderConfig:
    """A bundle of encoders.

    Attributes:
        width: D, joint width.
        resize, crop: pixels, see `flvlp.data.config.ImageConfig`.
    """

    frontal: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    lateral: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    text: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    width: int = 512
    resize: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        if self.frontal.backbone in (SHARED, NONE):
            raise ValueError(f"encoder.frontal.backbone: {self.frontal.backbone!r} is for the lateral view only")
        check_fields(self, "encoder", "[1, inf)", "width", "resize")
        check_fields(self, "encoder", f"[1, {self.resize}]", "crop", advice="it is cut out of encoder.resize")


@dataclass
class HeadsConfig:
    """What pre-training adds on top of the encoders (docs/paper.md sections 3 to 5).

    Attributes:
        key_semantics: False gives all valid patches to the MLM decoder (ablation).
        keep_ratio, aggregate_percent: share of patches that are kept; they make (percent * (Pf + Pl)) // 100 tokens.
        mlm_depth, alignment_depth: self-attention blocks behind the cross-attention.
        head_width: channels of one attention head.
        prototypes, queue: K, and studies of earlier global batches that take part in their codes; 0 for none.
        lateral_negatives: k other studies' views asked by each word; used where loss.view_alignment.negatives=laterals.
        words_train_text: False: masked words, and those that ask both views, train images and decoders alone.
    """

    key_semantics: bool = True
    keep_ratio: float = 0.8
    aggregate_percent: int = 56
    mlm_depth: int = 4
    alignment_depth: int = 2
    head_width: int = 64
    prototypes: int = 500
    queue: int = 0
    lateral_negatives: int = 2
    words_train_text: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "heads", "(0, 1]", "keep_ratio")
        check_fields(self, "heads", "[1, 100]", "aggregate_percent")
        check_fields(self, "heads", "[1, inf)", "head_width", "prototypes")
        check_fields(self, "heads", "[0, inf)", "mlm_depth", "alignment_depth", "queue", "lateral_negatives")


VIEWS = ("auto", "frontal", "lateral", "both", "fused")
FEATURES = ("trunk", "projected")
HEAD_NORMS = ("none", "layer", "standardise")


@dataclass
class HeadConfig:
    """A linear head on image features.

    Attributes:
        view: `frontal`, `lateral` (studies without one are left out), `both` (the features of both views side by side),
            `fused` (the one feature that pre-training fused from both; linear probe only), or `auto`: both where
            encoders and data have a lateral, else frontal.
        features: `trunk` (before the projection to the joint space) or `projected`; fine-tuning takes the trunk's.
        norm: of the features: `none`, `layer` (LayerNorm), or `standardise` (by mean and deviation over the training
            part; linear probe only).
        init_std: of the truncated normal that the head starts from.
        class_weights: weigh positives of each class by negatives / positives of the training part (exclusive classes:
            by the inverse of their share).
        encoder_lr_scale, layer_decay: fine-tuning: factor on the learning rate of the encoders, and a further factor
            for every block below the last.
    """

    view: str = "frontal"
    features: str = "trunk"
    norm: str = "none"
    init_std: float = 0.01
    class_weights: bool = False
    encoder_lr_scale: float = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        check_choice("task.head.view", self.view, VIEWS)
        check_choice("task.head.features", self.features, FEATURES)
        check_choice("task.head.norm", self.norm, HEAD_NORMS)
        if self.view == "fused" and self.features == "trunk":
            raise ValueError(
                "task.head.view: fused is a projected feature; set task.head.features=projected, or view=both"
            )
        check_fields(self, "task.head", "(0, inf)", "init_std")
        check_fields(self, "task.head", "(0, 1]", "encoder_lr_scale", "layer_decay")

    def settled(self, has_lateral: bool) -> "HeadConfig":
        """Returns the head with `auto` replaced, for encoders and data that have a lateral or not."""
        return replace(self, view="both" if has_lateral else "frontal") if self.view == "auto" else self
