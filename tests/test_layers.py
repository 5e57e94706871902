"""The import table of docs and architecture: data flows one way, and heavy libraries live in one place each."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "flvlp"
SHELLS = {"sh", "bash", "dash", "zsh"}
EXPERIMENTS = ROOT / "experiments"

# What a module (first part below flvlp) may import from flvlp; its own package is always allowed.
ALLOWED = {
    "types": set(),
    "checks": set(),
    "hub": set(),
    "rendezvous": set(),
    "distributed": {"rendezvous"},
    "launch": {"checks"},
    "data": {"types", "checks", "hub"},
    "models": {"types", "checks", "hub"},
    "losses": {"types", "checks", "distributed"},
    "metrics": {"types", "distributed"},
    "engine": {"types", "checks", "distributed"},
    "validation": {"types", "distributed", "losses", "metrics", "models"},
    "inspection": {"types", "models"},
    "saved_encoders": {"types", "data", "models"},
    "baselines": {"types", "data", "models", "saved_encoders"},
    "zeroshot": {"types"},
    "__init__": {"saved_encoders"},
}
# Third-party packages that only some files may import.
ONLY_IN = {
    "pandas": ("data/",),
    "PIL": ("data/",),
    "pydicom": ("data/",),
    "timm": ("models/image_encoder.py", "models/norms.py"),
    "segmentation_models_pytorch": ("models/segmenter.py",),
    "transformers": ("models/text_encoder.py", "data/tokenizer.py"),
    "tokenizers": ("data/tokenizer.py",),
    "tensorboard": ("engine/",),
    "pycocotools": ("metrics/detection.py", "metrics/coco.py"),
    "sklearn": ("metrics/",),
    "hydra": ("experiments/",),
    "omegaconf": ("experiments/",),
    "submitit": ("experiments/support/slurm.py",),
    "matplotlib": ("experiments/",),
}
FILES = sorted([*SOURCE.rglob("*.py"), *EXPERIMENTS.rglob("*.py")])
# Files that `--help` and a misspelt key wait for.
LIGHT = [
    *SOURCE.rglob("config.py"),
    *SOURCE.rglob("*_config.py"),
    SOURCE / "data" / "prompts.py",
    SOURCE / "checks.py",
    SOURCE / "launch.py",
    *(path for path in EXPERIMENTS.rglob("*.py") if path.name not in ("plain.py", "matmuls.py")),  # of benchmarking
]
HEAVY = {"torch", "timm", "transformers", "torchvision", "pandas", "sklearn", "scipy", "matplotlib"}


def imports(path: Path) -> list[tuple[str, bool]]:
    """Returns the modules a file imports, and whether it does so at its top level at run time."""
    tree = ast.parse(path.read_text())
    found = []
    typing_only = {
        id(node)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and getattr(guard.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(guard)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [(name, node in tree.body and id(node) not in typing_only) for name in names]
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    module = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert module in ALLOWED, f"{path}: no rule for flvlp.{module}; add it to the table in tests/test_layers.py"
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] == "flvlp" and len(parts) > 1 and parts[1] != module:
            assert parts[1] in ALLOWED[module], f"{path} imports {name}; {module} may import: {sorted(ALLOWED[module])}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_library_is_imported_in_its_place_only(path: Path) -> None:
    place = str(path.relative_to(SOURCE)) if path.is_relative_to(SOURCE) else str(path.relative_to(ROOT))
    for name, _ in imports(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or place.startswith(allowed), f"{place} imports {name}; only {allowed} may"


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: str(path.relative_to(ROOT)))
def test_configuration_files_import_nothing_heavy(path: Path) -> None:
    heavy = [name for name, is_at_start in imports(path) if is_at_start and name.split(".")[0] in HEAVY]
    assert not heavy, f"{path} imports {heavy} at its top level; --help would wait for it"


def unsafe_calls(source: str) -> list[str]:
    """Returns calls that unpickle what a file holds, or name a shell; ruff (S602 to S605, S301) knows the others."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            is_torch = ast.unparse(node.func) == "torch.load" and given.get("weights_only") != "True"
            if is_torch or given.get("allow_pickle", "False") != "False" or given.get("weights_only", "True") != "True":
                found.append(ast.unparse(node))
        elif isinstance(node, ast.List | ast.Tuple) and node.elts:
            program = getattr(node.elts[0], "value", None)
            if isinstance(program, str) and Path(program).name in SHELLS:
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_unpickles_what_it_reads_or_starts_a_shell(path: Path) -> None:
    found = unsafe_calls(path.read_text())
    assert not found, f"{path}: {found}; take weights_only=True, allow_pickle=False, and a list of words"


@pytest.mark.parametrize(
    "line",
    ["torch.load(p)", "torch.load(p, weights_only=no)", "np.load(p, allow_pickle=True)", "run(['/bin/sh', '-c', x])"],
)
def test_what_unpickles_or_starts_a_shell_is_found(line: str) -> None:
    assert unsafe_calls(line)


def test_importing_the_package_loads_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import flvlp, sys; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout.strip() == "False"


def test_no_file_has_outgrown_its_purpose() -> None:
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    long = {str(path.relative_to(ROOT)): count for path in files if (count := len(path.read_text().splitlines())) > 250}
    assert not long, f"files of more than 250 lines: {long}"
