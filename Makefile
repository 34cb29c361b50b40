# What treino does, by one word each. The first call makes .venv and installs into it, once.
# Settings: make search DATA=digits TRIALS=6 EPOCHS=3. Anything else: ARGS="--keep 3 --seed 7".
# Only variables on make's command line count: clusters, IDEs and shells export DATA, STORAGE, PORT
# and SEED for purposes of their own. Settings in the environment are called TREINO_*.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A variable's value, if it was given on the command line.
given = $(if $(filter command,$(origin $(1))),$($(1)))

# The newest Python of those supported. A name that a version manager answers for may still not
# run, so each is tried.
python = $(or $(call given,PYTHON),$(shell for python in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$python; break; }; done))
CONSTRAINTS = $(shell $(python) -c 'import sys; print("constraints-3.10.txt" if sys.version_info < (3, 11) else "constraints.txt")')
# With an NVIDIA GPU, TensorFlow comes with its CUDA packages.
EXTRAS := $(if $(shell command -v nvidia-smi 2>/dev/null),[gpu],)

# Paths below are relative, because make cannot handle spaces in those it has to compare.
BIN := .venv/bin
# Not as a flag: a URL may hold a password, and flags are for all to see.
ifneq ($(call given,STORAGE),)
export TREINO_STORAGE := $(STORAGE)
endif
quote = '$(subst ','\'',$(1))'
flag = $(if $(call given,$(1)),--$(2) $(call quote,$(call given,$(1))))
STUDY_FLAGS = $(call flag,STUDY,study)
DATA_FLAGS = $(call flag,DATA,data) $(call flag,IMAGE_SIZE,image-size) $(call flag,SEED,seed)
SEARCH_FLAGS = $(call flag,TRIALS,trials) $(call flag,EPOCHS,epochs) $(call flag,WORKERS,workers) \
	$(call flag,TIMEOUT,timeout) $(call flag,PRUNER,pruner) $(call flag,SAMPLER,sampler) \
	$(call flag,PRIOR,prior) $(call flag,SPACE,space)

# Test files beside one another, a process a core: most of them wait for processes of their own.
BESIDE := --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

.PHONY: search
search: $(BIN)/installed ## Run a study, or go on with it
	@$(BIN)/treino search $(DATA_FLAGS) $(STUDY_FLAGS) $(SEARCH_FLAGS) $(call given,ARGS)

.PHONY: retrain-best
retrain-best: $(BIN)/installed ## Train the study's best trial in full and hand it over
	@$(BIN)/treino retrain-best $(STUDY_FLAGS) $(call given,ARGS)

.PHONY: dashboard
dashboard: $(BIN)/installed ## Show the studies in the browser
	@$(BIN)/treino dashboard $(call flag,PORT,port) $(call given,ARGS)

.PHONY: leaderboard
leaderboard: $(BIN)/installed ## Show trials, baselines and retrained models in one table
	@$(BIN)/treino leaderboard $(STUDY_FLAGS) $(call given,ARGS)

.PHONY: claims
claims: $(BIN)/installed ## Put the documents' claims to the test: make claims ARGS=--settle
	@$(BIN)/treino claims $(STUDY_FLAGS) $(call flag,WORKERS,workers) $(call given,ARGS)

.PHONY: report
report: $(BIN)/installed ## Write a page about the study: what is best, why, what to try next
	@$(BIN)/treino report $(STUDY_FLAGS) $(call given,ARGS)

.PHONY: baseline
baseline: $(BIN)/installed ## Train one of the documents' runs: make baseline RUN=run-10
	@$(BIN)/treino baseline $(call quote,$(or $(call given,RUN),run-10)) $(DATA_FLAGS) \
		$(call flag,EPOCHS,epochs) $(call given,ARGS)

.PHONY: install
install: $(BIN)/installed ## Make .venv and install treino into it

.PHONY: test
test: $(BIN)/installed-dev ## Run the tests, but for the stress tests
	@$(BIN)/python -m pytest $(BESIDE) $(call given,ARGS)

.PHONY: test-unit
test-unit: $(BIN)/installed-dev ## Run the tests of pure code, in under a minute
	@$(BIN)/python -m pytest tests/unit $(BESIDE) $(call given,ARGS)

.PHONY: stress
stress: $(BIN)/installed-dev ## Run the stress tests: time, memory, a search under fire
	@$(BIN)/python -m pytest tests/stress $(call given,ARGS)

.PHONY: lint
lint: $(BIN)/installed-dev ## Check format, style and the layers of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

.PHONY: typecheck
typecheck: $(BIN)/installed-dev ## Check the types
	$(BIN)/mypy

.PHONY: docs
docs: $(BIN)/installed-dev ## Check the documentation against the code
	@$(BIN)/python -m pytest tests/unit/test_docs.py $(call given,ARGS)

.PHONY: check
check: lint typecheck test ## Everything that CI checks

.PHONY: chaos
chaos: $(BIN)/installed-dev ## Searches under fire, memory and speed, bad input by the thousand
	@$(BIN)/python -m benchmarks.chaos
	@$(BIN)/python -m benchmarks.memory
	@TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m benchmarks.fuzz
	@$(MAKE) --no-print-directory stress

.PHONY: bench
bench: $(BIN)/installed-bench ## Beside the peers: make bench DATA=DIR LCBENCH=DIR
	@$(BIN)/python -m benchmarks.decisions
	@$(if $(call given,DATA),$(BIN)/python -m benchmarks.throughput $(call quote,$(call given,DATA)) \
		$(call flag,IMAGES,images),echo "no images a second: give DATA=DIR")
	@$(BIN)/python -m benchmarks.replay --curves $(wildcard benchmarks/*.json) \
		$(call flag,LCBENCH,lcbench) $(call flag,SEEDS,seeds) $(call given,ARGS)

.PHONY: format
format: $(BIN)/installed-dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: lock
lock: ## Pin the newest versions that fit: constraints.txt, constraints-3.10.txt
	@for python in python3.11 python3.10; do \
		file=$$([ $$python = python3.10 ] && echo constraints-3.10.txt || echo constraints.txt); \
		folder=$$(mktemp -d) && $$python -m venv $$folder \
		&& $$folder/bin/python -m pip install --quiet --disable-pip-version-check \
			'.[dev,benchmarks,heic,postgresql]' \
		&& $$folder/bin/python -m pip freeze --exclude treino | LC_ALL=C sort -f > $$file; \
		rm -rf $$folder; done

.PHONY: clean
clean: ## Remove .venv and what tools have left; var/ stays
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(python)" || { echo "treino needs Python 3.10 to 3.13; none was found" >&2; exit 1; }
	@echo "making .venv with $(python)"
	@$(python) -m venv .venv

$(BIN)/installed: pyproject.toml $(wildcard constraints*.txt) | $(BIN)/python
	@echo "installing treino and what it needs (once; TensorFlow is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.$(EXTRAS)'
	@touch $@

$(BIN)/installed-dev: $(BIN)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

$(BIN)/installed-bench: $(BIN)/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.[benchmarks]'
	@touch $@
