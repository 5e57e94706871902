# flvlp: every target does the set-up it needs. `make help` lists them.
VENV ?= .venv
PYTHON ?= python3
NPROC ?= 1
DRAWS ?= 50
JOBS ?= 2
# One more than cores: a test that waits for a timeout leaves its core to another.
TEST_PROCESSES ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 8 ? n + 1 : 8)))
ARGS ?=
LOGDIR ?= runs/pretrain
DATASET ?= nih14
ROOT ?=
RUNS ?= runs/pretrain/sweeps/ablation_terms

BIN := $(VENV)/bin
# One stamp for each state of the two files that decide what is installed: a second call installs nothing.
STAMP := $(VENV)/.flvlp-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# This clone's sources win even where VENV is shared with another clone.
export PYTHONPATH := $(CURDIR)/src
export TOKENIZERS_PARALLELISM := false

ifeq ($(NPROC),1)
LAUNCH := $(BIN)/python
else
LAUNCH := $(BIN)/python -m torch.distributed.run --standalone --nproc-per-node $(NPROC)
endif

# ARGS may name another launcher; the command line would win over that.
OTHER_LAUNCHER = $(findstring hydra/launcher=,$(ARGS))$(findstring launch=slurm,$(ARGS))
SIDE_BY_SIDE = $(if $(OTHER_LAUNCHER)$(filter 1,$(JOBS)),,hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS))

.DEFAULT_GOAL := help
.PHONY: help setup pretrain ablation report eval-cls eval-seg eval-det eval-retrieval eval-zeroshot explain benchmark prepare doctor test test-slow faults audit check format tensorboard clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16
	@echo
	@echo 'variables:    ARGS="hydra overrides"  NPROC=2 (torchrun)  VENV=.venv  PYTHON=python3  TEST_PROCESSES=2'

setup: $(STAMP) ## make the virtual environment (the other targets do it when needed)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "flvlp needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@rm -f $(VENV)/.flvlp-*
	@touch $@

pretrain: $(STAMP) ## pre-train; phantoms and tiny encoders unless ARGS says otherwise
	$(LAUNCH) experiments/pretrain.py $(ARGS)

ablation: $(STAMP) ## the paper's ablation on phantoms, three seeds, JOBS (2) side by side; goes on where it was stopped
	$(BIN)/python experiments/pretrain.py -m $(SIDE_BY_SIDE) experiment=ablation_terms seed=0,1,2 $(ARGS)

# In `make ablation report` ARGS is what the sweep is told.
REPORT_ARGS = $(if $(filter ablation,$(MAKECMDGOALS)),,$(ARGS))
empty :=
comma := ,
report: $(STAMP) ## tables, plots and a page of RUNS="folder ..." (of runs, of sweeps; the sweep of `make ablation`)
	$(BIN)/python experiments/report.py 'runs=[$(subst $(empty) $(empty),$(comma),$(patsubst %,"%",$(RUNS)))]' $(REPORT_ARGS)

# DATASET has a default for prepare and doctor only; each task has its own.
EVAL_DATA = $(if $(filter command environment,$(word 1,$(origin DATASET))),dataset=$(DATASET)) $(if $(ROOT),"dataset.root='$(ROOT)'")

eval-cls: $(STAMP) ## classify findings (NIH14; DATASET=chexpert, ROOT=/data/chexpert, ARGS="task=finetune label_fraction=0.01")
	$(LAUNCH) experiments/classify.py $(EVAL_DATA) $(ARGS)

eval-seg: $(STAMP) ## segment (SIIM, or ROOT=/data/siim; DATASET=rsna)
	$(LAUNCH) experiments/segment.py $(EVAL_DATA) $(ARGS)

eval-det: $(STAMP) ## detect (RSNA; DATASET=object_cxr)
	$(LAUNCH) experiments/detect.py $(EVAL_DATA) $(ARGS)

eval-retrieval: $(STAMP) ## images to reports and back (IU X-ray; DATASET=mimic_cxr)
	$(LAUNCH) experiments/retrieve.py $(EVAL_DATA) $(ARGS)

eval-zeroshot: $(STAMP) ## classify by prompts (CheXpert; ARGS="prompts=chexzero")
	$(LAUNCH) experiments/zeroshot.py $(EVAL_DATA) $(ARGS)

explain: $(STAMP) ## heat maps of phrases (ARGS="frontal=a.png phrase=..."), or grounding (DATASET=ms_cxr, ROOT=/data/ms_cxr)
	$(LAUNCH) experiments/explain.py $(EVAL_DATA) $(ARGS)

benchmark: $(STAMP) ## speed and memory beside a plain reference (ARGS="rows=[step_bf16,cache]")
	$(BIN)/python experiments/benchmark.py $(ARGS)

prepare: $(STAMP) ## count a download and decode its pictures once: DATASET=nih14 ROOT=/data/nih
	$(BIN)/python experiments/prepare.py dataset=$(DATASET) $(if $(ROOT),"dataset.root='$(ROOT)'") $(ARGS)

doctor: $(STAMP) ## say what is there and what is missing: DATASET=nih14 ROOT=/data/nih
	@$(BIN)/python experiments/prepare.py action=doctor dataset=$(DATASET) $(if $(ROOT),"dataset.root='$(ROOT)'") $(ARGS)

# A file of tests stays in one process, which makes what its tests share once; a thread each. In the order of names: by
# default the files with the fewest tests, which are the longest here, would come last.
test test-slow: export OMP_NUM_THREADS := 1
test: $(STAMP) ## run the tests (minutes, no network), TEST_PROCESSES side by side
	$(BIN)/python -m pytest -m "not slow" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(STAMP) ## run the long tests too
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

faults: export OMP_NUM_THREADS := 1
faults: $(STAMP) ## kill runs at random, DRAWS (50) times, and see that they end as if nothing had happened
	FLVLP_FAULT_DRAWS=$(DRAWS) $(BIN)/python -m pytest tests/experiments/test_faults.py -n $(TEST_PROCESSES) $(ARGS)

audit: $(STAMP) ## look up known faults of the installed packages (needs a network)
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

check: $(STAMP) ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: $(STAMP) ## open TensorBoard on LOGDIR (runs/pretrain)
	$(BIN)/tensorboard --logdir $(LOGDIR)

clean: ## delete caches of the tools, phantoms and stand-ins; runs and pixel caches stay
	rm -rf cache/phantom cache/standin .pytest_cache .mypy_cache .ruff_cache .hypothesis
