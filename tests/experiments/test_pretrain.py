"""The entry point as its users run it: whole runs on small phantoms, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ONE_PROCESS, TWO_PROCESSES, Run, environment


@pytest.fixture(scope="module")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    done = run(f"hydra.run.dir={folder}", cwd=folder.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def records(folder: Path, part: str) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["part"] == part]


def test_a_run_folder_holds_what_the_readme_says(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {"config.yaml", "run.json", "metrics.jsonl", "log.txt", "checkpoints", "encoders", "encoders_last"}
    assert json.loads((finished / "finished.json").read_text())["metric"] == "retrieval/fused/r1"
    assert list(finished.glob("events.out.tfevents.*")), "no TensorBoard events"
    assert (finished.parent / "latest").resolve() == finished.resolve()
    started = json.loads((finished / "run.json").read_text())[0]
    assert started["command"][1].endswith("pretrain.py")
    assert {"git_commit", "git_is_dirty", "packages", "host", "seed"} <= set(started)


def test_training_and_validation_record_every_term(finished: Path) -> None:
    train, validation = records(finished, "train"), records(finished, "validation")
    terms = {"itc", "mlm", "view_alignment", "prototype"}
    assert terms | {"total", "gradient_norm", "studies_per_second", "memory_gib"} <= set(train[-1])
    assert any(key.startswith("lr/") for key in train[-1])
    assert len(validation) == 2, f"two epochs, {len(validation)} validations"
    gaps = {"mlm_shuffled", "mlm_gap", "view_alignment_shuffled", "view_alignment_gap"}
    recalls = {f"retrieval/{side}/r{k}" for side in ("frontal", "lateral", "fused") for k in (1, 5, 10)}
    assert terms | gaps | recalls | {"prototypes/report/perplexity", "fused_minus_frontal/r1_low"} <= set(
        validation[-1]
    )


def test_encoders_come_back_in_a_fresh_process_with_identical_outputs(finished: Path, tmp_path: Path) -> None:
    import flvlp

    loaded = flvlp.load_encoders(finished / "encoders_last")
    checkpoint = torch.load(max(finished.glob("checkpoints/*.pt")), weights_only=True)["model"]
    for name, value in load_file(finished / "encoders_last" / "encoders.safetensors").items():
        assert torch.equal(value, checkpoint[f"encoders.{name}"]), f"{name} differs from the checkpoint"
    pixels = torch.randint(0, 256, (2, 1, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    report = loaded.encode_reports(["No pneumothorax.", "Large left pleural effusion. The heart is enlarged."]).report
    with torch.no_grad():
        image, lateral = loaded.encoders.encode_image(pixels).pooled, loaded.encoders.encode_lateral(pixels).pooled
        fused = loaded.encoders.fuse(image, lateral, torch.tensor([True, False]))
    torch.save({"image": image, "lateral": lateral, "fused": fused, "report": report}, tmp_path / "here.pt")
    script = f"""
import torch, flvlp
loaded = flvlp.load_encoders({str(finished / "encoders_last")!r})
pixels = torch.randint(0, 256, (2, 1, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    image, lateral = loaded.encoders.encode_image(pixels).pooled, loaded.encoders.encode_lateral(pixels).pooled
    fused = loaded.encoders.fuse(image, lateral, torch.tensor([True, False]))
report = loaded.encode_reports(["No pneumothorax.", "Large left pleural effusion. The heart is enlarged."]).report
here = torch.load({str(tmp_path / "here.pt")!r}, weights_only=True)
there = dict(image=image, lateral=lateral, fused=fused, report=report)
print([name for name in here if not torch.equal(here[name], there[name])])
"""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment() | threads, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]


def test_two_processes_train_and_agree_with_one_on_validation(run: Run, tmp_path: Path) -> None:
    """Before any training step the validation figures of one and of two processes must be the same."""
    overrides = ("engine.max_steps=1", "engine.lr=1e-12", "engine.warmup_epochs=0")
    for name, launcher in (("one", ONE_PROCESS), ("two", TWO_PROCESSES)):
        done = run(f"hydra.run.dir={tmp_path / name}", *overrides, cwd=tmp_path, launcher=launcher)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (records(tmp_path / name, "validation")[-1] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        if key != "part":
            assert two[key] == pytest.approx(value, abs=2e-3), f"{key}: one process {value}, two {two[key]}"
    assert json.loads((tmp_path / "two" / "run.json").read_text())[0]["world_size"] == 2


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("loss=itc",), marks=pytest.mark.slow),  # sweeps run it too
        ("encoder/lateral=none",),
        ("encoder/lateral=shared", "loss.itc.weight=0"),
        ("engine.precision=bf16", "deterministic=true"),
        ("masking=random", "heads.key_semantics=false", "engine.accumulate=2", "engine.activation_checkpointing=true"),
    ],
    ids=["itc", "frontal-only", "shared-without-itc", "bf16", "random-masking"],
)
def test_an_ablation_is_one_override(run: Run, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    done = run(f"hydra.run.dir={tmp_path / 'run'}", "engine.max_steps=2", *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "encoders" / "encoders.safetensors").is_file()


def test_the_overfit_preset_learns_one_batch(run: Run, tmp_path: Path) -> None:
    done = run(
        "engine=overfit", "engine.epochs=60", "loss.prototype.weight=0",
        f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    itc = [record["itc"] for record in records(tmp_path / "run", "train")]
    assert itc[-1] < 0.5 * itc[0], f"itc fell from {itc[0]:.3f} to {itc[-1]:.3f} only"


def test_a_sweep_makes_one_run_folder_a_job(run: Run, tmp_path: Path) -> None:
    sweep = tmp_path / "mine"
    done = run("-m", "engine.max_steps=1", "seed=0,1", f"hydra.sweep.dir={sweep}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    seeds = [json.loads((sweep / job / "run.json").read_text())[0]["seed"] for job in ("0", "1")]
    assert seeds == [0, 1]
    assert sorted(path.name for path in sweep.glob("[!.]*/")) == ["0", "1"], "a link would be a third job"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_sweep_under_torchrun_is_refused_with_the_way_to_do_it(run: Run, tmp_path: Path) -> None:
    done = run("-m", "seed=0,1", cwd=tmp_path, launcher=TWO_PROCESSES)
    assert done.returncode != 0
    assert "cannot run under torchrun" in done.stderr and "launch=torchrun" in done.stderr, done.stderr[-1500:]
