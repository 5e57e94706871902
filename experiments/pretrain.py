"""Pre-train frontal, lateral and text encoders.

python experiments/pretrain.py                                                    # phantoms, tiny encoders, any machine
python experiments/pretrain.py dataset=pairs dataset.csv=/data/studies.csv encoder=paper
torchrun --nproc-per-node 4 experiments/pretrain.py dataset=pairs dataset.csv=/data/studies.csv encoder=paper
python experiments/pretrain.py resume=latest
python experiments/pretrain.py -m loss=full,itc seed=0,1,2
"""

import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

from entry import refuse_sweep_under_torchrun, remove_if_empty, resumed_config, run_folder, typed
from flvlp.data.config import DatasetConfig, ImageConfig, MaskingConfig
from flvlp.engine.config import EngineConfig
from flvlp.losses.config import LossConfig
from flvlp.models.config import NONE, EncoderConfig, HeadsConfig

if TYPE_CHECKING:  # torch and its friends take seconds to import: --help and a misspelt key must not wait for them
    import torch

    from flvlp.data.tokenizer import ReportTokenizer
    from flvlp.engine.train import Training
    from flvlp.models.flvlp import FLVLP
    from flvlp.types import Batch, StudySource
    from flvlp.validation import HeldOut

log = logging.getLogger(__name__)


@dataclass
class Args:
    """Everything that can be set."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    dataset: Any = None
    engine: EngineConfig = field(default_factory=EngineConfig)
    seed: int = 0
    deterministic: bool = False
    resume: str | None = None
    init_from: str | None = None


@hydra.main(version_base="1.3", config_path="../conf", config_name="pretrain")
def main(cfg: DictConfig) -> None:
    """Composes the configuration and finds the run folder."""
    made = run_folder()
    try:
        folder = made
        if cfg.resume is not None:
            folder = (made.parent / "latest" if cfg.resume == "latest" else Path(cfg.resume)).resolve()
            cfg = resumed_config(cfg, folder)
        args = typed(Args, cfg)
        from flvlp.engine.log import set_up_console

        set_up_console()
        pretrain(args, folder, OmegaConf.to_yaml(cfg))
    finally:
        remove_if_empty(made)


def pretrain(args: Args, folder: Path, config_yaml: str) -> None:
    """Runs pre-training in `folder`, from its last checkpoint where `args.resume` is set."""
    from flvlp import distributed
    from flvlp.engine import log as run_logs
    from flvlp.engine.train import train_epoch

    # ---- this rank -------------------------------------------------------------------------------------------------
    device = distributed.start()
    folder = distributed.broadcast_object(folder)
    seed_everything(args.seed, args.deterministic)
    if args.resume is None and (folder / "checkpoints").exists():
        raise ValueError(f"hydra.run.dir: {folder} already holds a run; set resume={folder}, or take another folder")

    # ---- data ------------------------------------------------------------------------------------------------------
    source = read_source(args.dataset)
    tokenizer = find_tokenizer(args, source, folder)
    if distributed.is_main():
        if args.resume is None:
            run_logs.start_run(folder, config_yaml, args.seed)
            tokenizer.save(folder / "tokenizer")
        else:
            run_logs.append_run(folder, args.seed)
            run_logs.point_latest(folder)
    distributed.barrier()
    loader, sampler = training_data(args, source, tokenizer)
    held_out = validation_data(args, source, tokenizer)

    # ---- model, optimiser, where the run stands ------------------------------------------------------------------------
    training = set_up_training(args, source, tokenizer, sampler.steps, device, folder)
    state = training.state
    run_log = training.run_log
    if state.step == 0:
        show_studies(args, source, training)

    # ---- epochs ----------------------------------------------------------------------------------------------------
    while state.epoch < args.engine.epochs:
        first_step = state.step - state.epoch * sampler.steps
        if args.engine.max_steps is None or state.step < args.engine.max_steps:
            sampler.start(state.epoch, first_step)
            train_epoch(training, iter(loader), first_step, sampler.steps)
        is_finished = state.step == (state.epoch + 1) * sampler.steps
        epoch = state.epoch
        state.epoch += is_finished
        judge(args, training, tokenizer, held_out, folder, epoch)
        training.save()
        if not is_finished:
            log.info("stopped at engine.max_steps=%d; resume=%s goes on from here", state.step, folder)
            break
    run_log.close()
    log.info("encoders: %s", folder / "encoders")
    distributed.barrier()
    distributed.stop()


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seeds every global generator; data is drawn from (seed, epoch, study) and needs none of them."""
    import os
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def read_source(config: DatasetConfig) -> "StudySource":
    """Lists the studies on every rank; rank 0 goes first, so that what is made once is made once."""
    from flvlp import distributed
    from flvlp.data.sources import build_source

    if not distributed.is_main():
        distributed.barrier()
    source = build_source(config)
    if distributed.is_main():
        distributed.barrier()
        laterals = sum(study.has_lateral for study in source.studies)
        parts = ", ".join(f"{name} {len(positions)}" for name, positions in source.splits.items())
        log.info("%s: %d studies (%s), %d with a lateral", config.name, len(source.studies), parts, laterals)
    return source


def find_tokenizer(args: Args, source: "StudySource", folder: Path) -> "ReportTokenizer":
    """Returns the run's tokenizer: the saved one, that of the pre-trained weights, or one learned from the reports."""
    from flvlp import distributed
    from flvlp.data import tokenizer as tokenizers
    from flvlp.models.text_encoder import pretrained_location

    text = args.encoder.text
    if args.resume is not None:
        return tokenizers.load_tokenizer(folder / "tokenizer")
    if args.init_from is not None:
        from flvlp.saved_encoders import load_encoders

        return load_encoders(args.init_from).tokenizer
    if text.weights != "random":
        return tokenizers.pretrained_tokenizer(pretrained_location(text), text.max_tokens)
    # The trainer gives the same vocabulary for the same reports, so that every rank may learn it on its own.
    reports = (source.studies[index].report for index in source.splits["train"])
    learned = tokenizers.train_tokenizer(reports, text.vocab_size, text.max_tokens, args.dataset.credentialed)
    return distributed.broadcast_object(learned)


def training_data(args: Args, source: "StudySource", tokenizer: "ReportTokenizer") -> tuple[Any, Any]:
    """Returns the training loader of this rank and its sampler."""
    import torch
    from torch.utils.data import DataLoader

    from flvlp import distributed
    from flvlp.data.dataset import Collator
    from flvlp.data.sampler import EpochSampler

    engine = args.engine
    sampler = EpochSampler(
        source.splits["train"],
        batch_size=engine.batch_size,
        accumulate=engine.accumulate,
        seed=args.seed,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    if sampler.dropped:
        log.info("each epoch leaves out %d studies that do not fill a step", sampler.dropped)
    loader = DataLoader(
        study_dataset(args, source, tokenizer, is_training=True),
        batch_size=engine.batch_size,
        sampler=sampler,
        collate_fn=Collator(tokenizer.pad_id, args.encoder.crop),
        num_workers=engine.num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=engine.num_workers > 0,
        generator=torch.Generator(),  # or starting an epoch would move the global generator, and resume with it
    )
    return loader, sampler


def study_dataset(
    args: Args, source: "StudySource", tokenizer: "ReportTokenizer", *, is_training: bool, images_from: Any = None
) -> Any:
    """Returns the data set of single studies; see `StudyDataset`."""
    from flvlp.data.dataset import StudyDataset

    return StudyDataset(
        source,
        tokenizer,
        args.masking,
        ImageConfig(resize=args.encoder.resize, crop=args.encoder.crop),
        seed=args.seed,
        is_training=is_training,
        on_error=args.dataset.on_error,
        with_lateral=args.encoder.lateral.backbone != NONE,
        images_from=images_from,
    )


def validation_data(args: Args, source: "StudySource", tokenizer: "ReportTokenizer") -> "HeldOut | None":
    """Returns the held-out studies of this rank, None where there are none or engine.validate=false."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader

    from flvlp import distributed
    from flvlp.data.dataset import Collator, derange
    from flvlp.data.sampler import ShardSampler
    from flvlp.validation import HeldOut

    positions = source.splits.get("validation", np.zeros(0, dtype=np.int64))
    if not args.engine.validate or not len(positions):
        log.warning("no validation: encoders/ will hold the last epoch")
        return None

    def loader(images_from: Any) -> DataLoader["Batch"]:
        return DataLoader(
            study_dataset(args, source, tokenizer, is_training=False, images_from=images_from),
            batch_size=args.engine.batch_size,
            sampler=ShardSampler(positions, distributed.rank(), distributed.world_size()),
            collate_fn=Collator(tokenizer.pad_id, args.encoder.crop),
            num_workers=args.engine.num_workers,
            generator=torch.Generator(),
        )

    has_lateral = np.array([study.has_lateral for study in source.studies])
    return HeldOut(
        own=loader(None),
        shuffled=loader(derange(has_lateral, positions)),
        patients=[study.patient_id for study in source.studies],
        labels=getattr(source, "labels", None),
    )


def build_model(args: Args, vocab_size: int) -> "FLVLP":
    """Returns the model with the active terms only."""
    from flvlp.models.flvlp import FLVLP

    terms = args.loss.active()
    if args.encoder.lateral.backbone == NONE and "view_alignment" in terms:
        log.warning("encoder/lateral=none: the term view_alignment has nothing to align and is not run")
        terms -= {"view_alignment"}
    heads = args.heads
    if args.loss.view_alignment.negatives == "words":
        heads = dataclasses.replace(heads, lateral_negatives=0)
    model = FLVLP(args.encoder, heads, terms, vocab_size)
    if args.init_from is not None:
        from flvlp.saved_encoders import load_encoders

        model.encoders.load_state_dict(load_encoders(args.init_from).encoders.state_dict())
    if args.engine.activation_checkpointing:
        model.encoders.checkpoint_activations()
    if args.engine.compile:
        model.compile(dynamic=True)
    return model


def set_up_training(
    args: Args,
    source: "StudySource",
    tokenizer: "ReportTokenizer",
    steps_per_epoch: int,
    device: "torch.device",
    folder: Path,
) -> "Training":
    """Builds model, loss and optimiser, and restores the last checkpoint of a resumed run."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from flvlp import distributed
    from flvlp.data.files import hides_ids, shown
    from flvlp.engine import optim
    from flvlp.engine.checkpoint import Checkpoints, TrainState
    from flvlp.engine.log import RunLog
    from flvlp.engine.train import Training
    from flvlp.losses.total import LossSum

    model = build_model(args, len(tokenizer)).to(device)
    torch.manual_seed(args.seed + 1 + distributed.rank())  # weights are equal on all ranks, dropout is not
    optimizer = optim.build_optimizer(model.param_groups(args.engine.new_lr_scale), args.engine)
    dtype = optim.autocast_dtype(args.engine.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    checkpoints = Checkpoints(folder / "checkpoints", args.engine.keep_checkpoints)
    state = TrainState() if args.resume is None else checkpoints.load(model, optimizer, scaler)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    log.info("%.1f M trained parameters; terms: %s; %s", trained, ", ".join(sorted(model.terms)), dtype or "float32")
    wrapped: Any = model
    if distributed.world_size() > 1:
        devices = [device.index] if device.type == "cuda" else None
        wrapped = DistributedDataParallel(
            model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def name_study(index: int) -> str:
        study = source.studies[index]
        return f"{shown(study.study_id, hides_ids(args.dataset))} (row {study.row})"

    rank = distributed.rank()
    return Training(
        model=wrapped,
        criterion=LossSum(args.loss, model.terms),
        optimizer=optimizer,
        schedule=optim.build_schedule(args.engine, steps_per_epoch),
        scaler=scaler,
        dtype=dtype,
        device=device,
        config=args.engine,
        state=state,
        run_log=RunLog(folder, state.step),
        checkpoints=checkpoints,
        skipped_path=folder / ("skipped.jsonl" if rank == 0 else f"skipped-rank{rank}.jsonl"),
        name_study=name_study,
    )


def judge(
    args: Args,
    training: "Training",
    tokenizer: "ReportTokenizer",
    held_out: "HeldOut | None",
    folder: Path,
    epoch: int,
) -> None:
    """Validates, logs, and saves the encoders: always to `encoders_last`, the best epoch's to `encoders`."""
    from flvlp import distributed
    from flvlp.saved_encoders import save_encoders
    from flvlp.validation import validate

    state, model = training.state, training.bare_model
    figures: dict[str, float] = {}
    if held_out is not None:
        figures = validate(model, held_out, args.loss, training.device, training.dtype)
        training.run_log.write("validation", state.step, epoch, figures)
        log.info(
            "validation after epoch %d\n%s", epoch + 1, "\n".join(f"  {k:44s} {v:.4f}" for k, v in figures.items())
        )
        if args.engine.best_metric not in figures:
            log.warning(
                "engine.best_metric: %s is not measured here; encoders/ holds the last epoch", args.engine.best_metric
            )
    value = figures.get(args.engine.best_metric)
    is_best = value is None or state.best is None or value > state.best
    if value is not None and is_best:
        state.best = value
    if distributed.is_main():
        provenance = {"step": state.step, "epoch": epoch, "validation": figures}
        for name in ["encoders_last"] + ["encoders"] * is_best:
            save_encoders(folder / name, model.encoders, tokenizer, "itc" in model.terms, provenance)


def show_studies(args: Args, source: "StudySource", training: "Training") -> None:
    """Puts a few studies as the model sees them into TensorBoard, unless the data set is credentialed."""
    import numpy as np
    import torch

    from flvlp.data.transforms import crop_view

    config, image = args.dataset, ImageConfig(resize=args.encoder.resize, crop=args.encoder.crop)
    part = source.splits.get("validation", source.splits["train"])
    for number, index in enumerate(part[: args.engine.log_pictures]):
        study = source.studies[index]
        if config.log_images or not config.credentialed:
            views = [source.frontal(index)] + ([source.lateral(index)] if study.has_lateral else [])
            picture = np.concatenate([crop_view(view, image, None) for view in views], axis=1)
            training.run_log.picture(f"studies/{number}", torch.from_numpy(picture)[None], 0)
        if config.log_text or not config.credentialed:
            training.run_log.text(f"studies/{number}", study.report, 0)


if __name__ == "__main__":
    refuse_sweep_under_torchrun()
    main()
