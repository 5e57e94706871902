"""Pre-train frontal, lateral and text encoders.

python experiments/pretrain.py                                                    # phantoms, tiny encoders, any machine
torchrun --nproc-per-node 4 experiments/pretrain.py dataset=pairs dataset.csv=/data/studies.csv encoder=paper
python experiments/pretrain.py resume=latest
python experiments/pretrain.py -m experiment=ablation_terms seed=0,1,2            # goes on when it is started again
python experiments/pretrain.py -m launch=torchrun launch.nproc_per_node=4 seed=0,1,2
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from flvlp.checks import SEEDS, check_range
from flvlp.data.config import ImageConfig, MaskingConfig
from flvlp.engine.config import EngineConfig
from flvlp.launch import LaunchConfig
from flvlp.losses.config import LossConfig
from flvlp.models.config import NONE, EncoderConfig, HeadsConfig
from support.board import open_board
from support.building import build_model
from support.chain import check_then
from support.elastic import forget_restarts, note_run, restarted_run, same_run
from support.entry import CONF, is_sweep, remove_if_empty, resumed_config, run_folder, run_main, typed
from support.inputs import check_same_data, find_tokenizer, name_of, read_source, write_fingerprint
from support.jobs import run_job
from support.seen import write_seen
from support.sweeps import Done, attempt, refuse_preset_of_sweep
from support.text_start import with_text_start
from support.validating import hold_out, judge

if TYPE_CHECKING:  # torch and its friends take seconds to import: --help and a misspelt key must not wait for them
    import torch

    from flvlp.data.loaders import Loaders
    from flvlp.data.studies import StudySource
    from flvlp.data.tokenizer import ReportTokenizer
    from flvlp.engine.state import TrainState

log = logging.getLogger(__name__)

CENTER_STUDIES = 64  # training studies whose mean feature the untrained projections start from


@dataclass
class Args:
    """Everything that can be set."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    dataset: Any = None
    engine: EngineConfig = field(default_factory=EngineConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    name: str = ""
    seed: int = 0
    deterministic: bool = False
    resume: str | None = None
    init_from: str | None = None
    then: dict[str, list[str]] | None = None

    def __post_init__(self) -> None:
        check_then(self.then or {})
        check_range("seed", self.seed, SEEDS)


@hydra.main(version_base="1.3", config_path=CONF, config_name="pretrain")
def main(cfg: DictConfig) -> float:
    """Runs one job; returns its best figure, for sweepers."""
    return attempt(run, cfg) if is_sweep() else run(cfg).value


def run(cfg: DictConfig) -> Done:
    """Finds the run folder, and runs the job in it."""
    refuse_preset_of_sweep()
    made = run_folder()
    try:
        folder, restarted = made, restarted_run(made)
        if restarted is not None:
            cfg.resume = same_run(cfg.resume, restarted)
        if cfg.resume is not None:
            folder = (made.parent / "latest" if cfg.resume == "latest" else Path(cfg.resume)).resolve()
            cfg = resumed_config(cfg, folder)
            cfg.resume = str(folder)
            remove_if_empty(made)
        note_run(made, folder)
        done = run_job(pretrain, typed(Args, cfg), folder, cfg)
        forget_restarts(made)
        return done
    finally:
        remove_if_empty(made)


def pretrain(args: Args, folder: Path, config_yaml: str) -> float:
    """Runs pre-training in `folder`, from its last checkpoint where `args.resume` is set.

    Returns:
        the best value of `engine.best_metric`, NaN where it was never measured.
    """
    from flvlp import distributed
    from flvlp.engine import log as run_logs
    from flvlp.engine.setup import set_up_training
    from flvlp.engine.stopping import StopRequest
    from flvlp.engine.train import train_epoch
    from flvlp.losses.total import LossSum

    device, folder = start_rank(args, folder)

    # ---- data ----
    source = read_source(args.dataset, args.encoder.resize, needs_reports=True)
    if args.resume is not None:
        check_same_data(folder, source)
    args.encoder.text = with_text_start(args.encoder.text, source, args.engine.limit_studies, args.dataset.credentialed)
    tokenizer = find_tokenizer(
        args.encoder.text, source, folder if args.resume else None, args.init_from, args.dataset.credentialed
    )
    loaders = make_loaders(args, source, tokenizer)
    batches, sampler = loaders.training(args.engine.accumulate, args.engine.limit_studies, args.engine.bucket_steps)
    held_out = hold_out(args, loaders)

    # ---- model, optimiser, and where the run stands ----
    model = build_model(
        args.encoder, args.heads, args.loss, args.engine, vocab_size=len(tokenizer), init_from=args.init_from
    ).to(device)
    if args.resume is None and args.init_from is None:
        log.info("centring the projections on %d studies", CENTER_STUDIES)
        model.encoders.center(batch.to(device) for batch in loaders.first_studies(CENTER_STUDIES))
    training = set_up_training(
        model,
        LossSum(args.loss, model.terms),
        args.engine,
        seed=args.seed,
        folder=folder,
        is_resumed=args.resume is not None,
        steps_per_epoch=sampler.steps,
        studies_per_step=sampler.studies_per_step,
        name_study=name_of(args.dataset, source),
    )
    state = training.state
    if distributed.is_main():
        run_logs.open_run(folder, config_yaml, args.seed, is_new=args.resume is None, is_latest=not is_sweep())
        tokenizer.save(folder / "tokenizer")
        write_fingerprint(folder, source)
        write_seen(folder, args.dataset, source, args.init_from)
    if state.step == 0:
        training.save()  # a run killed before its first regular checkpoint is resumed from here

    # ---- epochs ----
    board = open_board(args, loaders, training, folder)
    with StopRequest() as stop:
        while not (is_over(args.engine, state) and state.is_judged):
            sampler.start(state.epoch, state.epoch_step)
            train_epoch(training, iter(batches), stop)  # no step where a run goes on that was stopped in validation
            unsaved = judge(args, training, tokenizer, held_out, board)
            state.end_judging()
            if unsaved is not None and is_over(args.engine, state):
                raise unsaved  # a resumed run, which goes on at the checkpoint before, judges again
            training.save()
    board.close(training)
    log.info("finished at step %d; encoders: %s", state.step, folder / "encoders")
    distributed.barrier()
    distributed.stop()
    return float("nan") if state.best is None else state.best


def is_over(engine: EngineConfig, state: "TrainState") -> bool:
    """Tells whether no step is left to take."""
    return state.epoch >= engine.epochs or (engine.max_steps is not None and state.step >= engine.max_steps)


def start_rank(args: Args, folder: Path) -> "tuple[torch.device, Path]":
    """Joins the other ranks; returns this rank's device and rank 0's run folder, which also decides on resuming."""
    from flvlp import distributed
    from flvlp.engine import log as run_logs
    from flvlp.engine.seed import seed_everything

    run_logs.set_up_console()
    device, made = distributed.start(args.engine.timeout_minutes), folder
    folder, args.resume = distributed.broadcast_object((folder, args.resume))
    if folder != made:
        remove_if_empty(made)  # a rank that is killed from here on would leave its own
    seed_everything(args.seed, args.deterministic)
    if args.resume is None and any((folder / "checkpoints").glob("step_*.pt")):
        raise ValueError(f"hydra.run.dir: {folder} already holds a run; set resume={folder}, or take another folder")
    return device, folder


def make_loaders(args: Args, source: "StudySource", tokenizer: "ReportTokenizer") -> "Loaders":
    """Returns the maker of this rank's loaders."""
    from flvlp import distributed
    from flvlp.data.loaders import Loaders

    return Loaders(
        source,
        tokenizer,
        args.masking,
        ImageConfig(resize=args.encoder.resize, crop=args.encoder.crop),
        seed=args.seed,
        on_error=args.dataset.on_error,
        with_lateral=args.encoder.lateral.backbone != NONE,
        batch_size=args.engine.batch_size,
        num_workers=args.engine.num_workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )


if __name__ == "__main__":
    run_main(__file__)
