# Shortcuts for treino's commands. The first call creates .venv and installs treino into it.
# Settings: make search DATA=digits TRIALS=6 EPOCHS=3. Other options: ARGS="--keep 3 --seed 7".
# Only variables on make's command line count, because clusters, IDEs and shells export DATA,
# STORAGE, PORT and SEED for other purposes. To use the environment, set TREINO_* variables.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Value of a variable that is set on the command line; else empty.
given = $(if $(filter command,$(origin $(1))),$($(1)))

# The first supported Python that runs. A version manager may provide a name that does not run, so
# each one is tried.
python = $(or $(call given,PYTHON),$(shell for python in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$python; break; }; done))
CONSTRAINTS = $(shell $(python) -c 'import sys; print("constraints-3.10.txt" if sys.version_info < (3, 11) else "constraints.txt")')
# With an NVIDIA GPU, install TensorFlow with its CUDA packages.
EXTRAS := $(if $(shell command -v nvidia-smi 2>/dev/null),[gpu],)

# Paths below are relative, because make cannot compare paths with spaces.
BIN := .venv/bin
# Not passed as a flag: a URL may contain a password, and flags are visible in process lists.
ifneq ($(call given,STORAGE),)
export TREINO_STORAGE := $(STORAGE)
endif
quote = '$(subst ','\'',$(1))'
flag = $(if $(call given,$(1)),--$(2) $(call quote,$(call given,$(1))))
STUDY_FLAGS = $(call flag,STUDY,study)
DATA_FLAGS = $(call flag,DATA,data) $(call flag,IMAGES,images) $(call flag,IMAGE_SIZE,image-size) \
	$(call flag,SEED,seed)
SEARCH_FLAGS = $(call flag,TRIALS,trials) $(call flag,EPOCHS,epochs) $(call flag,WORKERS,workers) \
	$(call flag,TIMEOUT,timeout) $(call flag,PRUNER,pruner) $(call flag,SAMPLER,sampler) \
	$(call flag,PRIOR,prior) $(call flag,SPACE,space) $(CLUSTER_FLAGS)
CLUSTER_FLAGS = $(call flag,CLUSTER,cluster)
# What a command needs: with CLUSTER, also Ray.
INSTALLED = $(BIN)/installed$(if $(call given,CLUSTER),-cluster)

# Run test files in parallel, one process per core: most tests wait for their own processes.
BESIDE := --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

.PHONY: search
search: $(INSTALLED) ## Run a study, or resume it
	@$(BIN)/treino search $(DATA_FLAGS) $(STUDY_FLAGS) $(SEARCH_FLAGS) $(call given,ARGS)

.PHONY: retrain-best
retrain-best: $(INSTALLED) ## Train the best trial in full and deliver the model
	@$(BIN)/treino retrain-best $(STUDY_FLAGS) $(call flag,SEEDS,seeds) \
		$(call flag,EPOCHS,epochs) $(call flag,WORKERS,workers) $(CLUSTER_FLAGS) $(call given,ARGS)

.PHONY: dashboard
dashboard: $(BIN)/installed ## Show the studies in the browser
	@$(BIN)/treino dashboard $(call flag,PORT,port) $(call given,ARGS)

.PHONY: leaderboard
leaderboard: $(BIN)/installed ## Show trials, baselines and retrained models in one table
	@$(BIN)/treino leaderboard $(STUDY_FLAGS) $(call given,ARGS)

.PHONY: claims
claims: $(INSTALLED) ## Test the documents' claims: make claims ARGS=--settle
	@$(BIN)/treino claims $(STUDY_FLAGS) $(call flag,WORKERS,workers) $(CLUSTER_FLAGS) \
		$(call given,ARGS)

.PHONY: report
report: $(BIN)/installed ## Write a page about the study: best trial, parameters, next steps
	@$(BIN)/treino report $(STUDY_FLAGS) $(call given,ARGS)

.PHONY: baseline
baseline: $(INSTALLED) ## Train one of the documents' runs: make baseline RUN=run-10
	@$(BIN)/treino baseline $(call quote,$(or $(call given,RUN),run-10)) $(DATA_FLAGS) \
		$(call flag,EPOCHS,epochs) $(CLUSTER_FLAGS) $(call given,ARGS)

NODE_FLAGS = $(call flag,ADDRESS,address) $(call flag,CPUS,cpus) $(call given,ARGS)

.PHONY: cluster-head
cluster-head: $(BIN)/installed-cluster$(if $(call given,JOBS),-jobs) ## Start a cluster on this machine: make cluster-head ADDRESS=10.0.0.1
	@$(BIN)/treino cluster head $(NODE_FLAGS) $(call flag,JOBS,jobs)

.PHONY: cluster-node
cluster-node: $(BIN)/installed-cluster ## Add this machine to a cluster: make cluster-node HEAD=10.0.0.1:6379
	@$(BIN)/treino cluster node $(call quote,$(call given,HEAD)) $(NODE_FLAGS)

.PHONY: cluster-stop
cluster-stop: $(BIN)/installed-cluster ## Stop what these two have started here, or with ROLE=node only nodes
	@$(BIN)/treino cluster stop $(call given,ROLE)

.PHONY: install
install: $(BIN)/installed ## Create .venv and install treino into it

.PHONY: test
test: $(BIN)/installed-dev ## Run the tests, but for the stress tests
	@$(BIN)/python -m pytest $(BESIDE) $(call given,ARGS)

.PHONY: test-unit
test-unit: $(BIN)/installed-dev ## Run the tests of pure code, in under a minute
	@$(BIN)/python -m pytest tests/unit $(BESIDE) $(call given,ARGS)

# Servers that stress tests talk to have a virtual environment each, because they are large.
SERVERS := $(patsubst tests/stress/requirements-%.txt,var/stress/venv-%/installed, \
	$(wildcard tests/stress/requirements-*.txt))

.PHONY: stress
stress: $(BIN)/installed-dev $(BIN)/installed-cluster-jobs ## Run the stress tests: time, memory, a search whose processes are killed
	@$(MAKE) --no-print-directory --keep-going $(SERVERS) || echo "some servers are left out"
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
check: lint typecheck test ## Run all checks of CI

.PHONY: chaos
chaos: $(BIN)/installed-dev ## Run the stress tests: killed processes, memory, invalid input
	@$(BIN)/python -m benchmarks.$(if $(call given,CLUSTER),chaos_cluster,chaos)
	@$(if $(call given,CLUSTER),,$(BIN)/python -m benchmarks.memory)
	@$(if $(call given,CLUSTER),,TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m benchmarks.fuzz)
	@$(if $(call given,CLUSTER),,$(MAKE) --no-print-directory stress)

# Peers that have a virtual environment each: their packages exclude each other's, or are large.
# One that cannot be installed, on this Python or this machine, is left out.
ENVIRONMENTS := $(patsubst benchmarks/peers/requirements-%.txt,var/bench/venv-%/installed, \
	$(wildcard benchmarks/peers/requirements-*.txt))

# Recorded curves: searches learn from the former, and the latter only judge them.
CURVES = $(wildcard search/scheduling/priors/*.json benchmarks/curves/*.json)

.PHONY: bench
bench: $(BIN)/installed-bench ## Compare with peers: make bench DATA=DIR LCBENCH=DIR
	@$(MAKE) --no-print-directory --keep-going $(ENVIRONMENTS) || echo "some peers are left out"
	@$(BIN)/python -m benchmarks.decisions
	@$(BIN)/python -m benchmarks.scale
	@$(if $(call given,DATA),$(BIN)/python -m benchmarks.throughput $(call quote,$(call given,DATA)) \
		$(call flag,IMAGES,images),echo "throughput is not measured: set DATA=DIR to measure it")
	@$(BIN)/python -m benchmarks.replay --curves $(CURVES) \
		$(call flag,LCBENCH,lcbench) $(call flag,SEEDS,seeds) $(call given,ARGS)
	@$(if $(call given,LCBENCH),$(BIN)/python -m benchmarks.transfer $(call flag,LCBENCH,lcbench) \
		$(call flag,SEEDS,seeds),)
	@$(BIN)/python -m benchmarks.hypervolume --curves $(filter-out %-extended.json,$(CURVES)) \
		$(call flag,SEEDS,seeds)

.PHONY: format
format: $(BIN)/installed-dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# A Python of version $(1): by its name, or else one of pyenv's, whose names may not run.
exactly = $(shell for python in python$(1) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(1).*/bin/python; do \
	"$$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(1)")' 2>/dev/null \
	&& { echo "$$python"; break; }; done)

# Install all extras with Python $(1), and write the versions to the file $(2). It stays as it was
# if this fails.
define pin
@set -e -o pipefail; echo "writing $(2)"; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	'$(call exactly,$(1))' -m venv "$$folder"; \
	"$$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
		--editable '.[dev,benchmarks,cluster-jobs,export,heic,mlflow,postgresql,tensorboard]'; \
	"$$folder/bin/python" -m pip freeze --exclude treino \
		| "$$folder/bin/python" -c 'import sys; print(*sorted(sys.stdin, key=str.lower), sep="", end="")' \
		> "$$folder/pinned"; \
	mv "$$folder/pinned" $(2)
endef

.PHONY: lock
lock: ## Pin the newest versions that fit: constraints.txt, constraints-3.10.txt
	@test -n '$(call exactly,3.11)' -a -n '$(call exactly,3.10)' \
		|| { echo "make lock requires Python 3.11 and Python 3.10" >&2; exit 1; }
	$(call pin,3.11,constraints.txt)
	$(call pin,3.10,constraints-3.10.txt)

.PHONY: clean
clean: ## Remove .venv and what tools have left; var/ stays
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(python)" || { echo "treino requires Python 3.10 to 3.13, and none was found" >&2; exit 1; }
	@echo "creating .venv with $(python)"
	@$(python) -m venv .venv

$(BIN)/installed: pyproject.toml $(wildcard constraints*.txt) | $(BIN)/python
	@echo "installing treino and its dependencies (once; TensorFlow is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.$(EXTRAS)'
	@touch $@

$(BIN)/installed-cluster: $(BIN)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.[cluster]'
	@touch $@

$(BIN)/installed-cluster-jobs: $(BIN)/installed-cluster
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.[cluster-jobs]'
	@touch $@

$(BIN)/installed-dev: $(BIN)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@ $(BIN)/installed-cluster

$(BIN)/installed-bench: $(BIN)/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.[benchmarks]'
	@touch $@

define environment
@echo "installing $* into $(@D)"
@$(BIN)/python -m venv --clear $(@D)
@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
@touch $@
endef

var/bench/venv-%/installed: benchmarks/peers/requirements-%.txt | $(BIN)/python
	$(environment)

var/stress/venv-%/installed: tests/stress/requirements-%.txt | $(BIN)/python
	$(environment)
