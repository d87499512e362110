# make run   everything: set-up, data, pipeline, results        make test   set-up and tests
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# DVC starts stages as `python ...`: the environment's own must come first.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

TEST_WORKERS ?= 2
PYTEST_ARGS ?=
FUZZ_INPUTS ?= 1000000
FUZZ_SEED ?= 1

.PHONY: help
help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: setup
setup: ## install what is missing (apt packages, .venv); FORCE=1 starts afresh
	@scripts/setup.sh

.PHONY: run
run: setup ## run the whole pipeline and show the results
	@patchline fetch-data
	@dvc repro
	@patchline summary
	@patchline track

.PHONY: test
test: ## install what the tests need, too, and run them; PYTEST_ARGS="-m 'not slow'" leaves out the slow ones
	@scripts/setup.sh tests
	@python -m pytest -n $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: setup ## wrong and right input for the firmware's serial protocol; FUZZ_INPUTS=1000000 FUZZ_SEED=1
	@FUZZ_INPUTS=$(FUZZ_INPUTS) FUZZ_SEED=$(FUZZ_SEED) python -m pytest -n 2 --timeout 0 tests/firmware/test_firmware_protocol_fuzz.py

.PHONY: renode
renode: ## fetch the emulator Renode (official portable release, checksum pinned) into .renode/
	@python3 scripts/fetch_renode.py

.PHONY: act
act: setup ## run the CI workflow here, without Docker, in a scratch clone of the last commit
	@scripts/act.sh

.PHONY: screenshots
screenshots: setup ## pictures of the report and of MLflow's pages (docs/images), with chromium
	@python scripts/screenshots.py

.PHONY: ablation
ablation: setup ## best accuracy per SRAM budget with layer, patch and auto schedules: docs/ablation.md
	@patchline fetch-data
	@dvc repro train_supernet
	@python benchmarks/ablation.py

.PHONY: ablation-search
ablation-search: setup ## what the search is worth against random draws at equal cost: docs/ablation.md
	@patchline fetch-data
	@dvc repro train_supernet
	@python benchmarks/search_against_random.py

.PHONY: bench-kernels
bench-kernels: setup ## what the kernels cost on M4 and M7; STORE=1 stores it and refits the search's latency
	@python benchmarks/kernels.py $(if $(STORE),--store)

.PHONY: lint
lint: setup ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

.PHONY: format
format: setup ## rewrite the Python files in the house's format
	@ruff check --fix .
	@ruff format .

.PHONY: lock
lock: ## write the versions installed in .venv to requirements.lock
	@{ sed -n '/^#/p' requirements.lock; python -m pip freeze --all --exclude-editable --exclude pip --exclude setuptools \
	  | sed -E 's/(==[^+]+)\+.*/\1/'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

.PHONY: clean
clean: ## remove results of the pipeline and caches of the tools (not .venv, not DVC's cache)
	@rm -rf build models metrics plots data/prepared dvc_plots .patchline
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find pipeline stages tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
