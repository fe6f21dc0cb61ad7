# The two commands a newcomer needs are `make demo` and `make test`; the rest are their parts.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo experiments test lint types imports unit fix bench browser postgresql oldest clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## */  make \1\t/p' $(MAKEFILE_LIST)

# The three commands of the README, with the settings that keep them inside demo/.
DEMO := FERSWEEP_LOCAL=1 FERSWEEP_DIR=demo/.fersweep FERSWEEP_DATA=demo/fer2013.csv $(BIN)/fersweep

demo: $(VENV)/.runtime demo/fer2013.csv  ## create -> agent -> report on procedural faces: no account, no network
	$(DEMO) create --name demo --arch cnn1,cnn4_bn --augment none,readme --dropout 0,0.4 --epochs 12
	$(DEMO) agent
	$(DEMO) report

demo/fer2013.csv: | $(VENV)/.runtime
	$(BIN)/fersweep data faces $@ --n 4500

test: lint types imports unit  ## everything CI runs

lint: $(VENV)/.dev  ## style, formatting, docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev  ## data flows one way; torch, wandb and the network stay in their layers
	$(BIN)/lint-imports

unit: $(VENV)/.dev oldest browser postgresql  ## every test, the slow ones included
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

fix: $(VENV)/.dev  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The ten hand-run experiments, one after the other, on procedural faces or on DATA=path/to/fer2013.csv.
DATA ?= faces:n=10000
TEN  := FERSWEEP_LOCAL=1 FERSWEEP_DIR=demo/ten WANDB_PROJECT=ten $(BIN)/fersweep

experiments: $(VENV)/.runtime  ## run the ten hand-run experiments and diagnose them: an hour on 2 cores
	for file in sweeps/[01]*.yaml; do \
	  $(TEN) create $$file && $(TEN) agent --data $(DATA) || exit 1; \
	done
	$(TEN) report --project-runs

bench: $(VENV)/.dev  ## every benchmark; each prints ratios against the alternative
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# The report is tested in a real browser. Without one those tests say so and are skipped.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	  else echo "No chromium found: the browser tests will be skipped. Install Debian's chromium to run them."; fi; }

# The store is tested in a real PostgreSQL, which the tests start and stop themselves.
postgresql:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; \
	  else echo "No PostgreSQL found: its tests will be skipped. Install Debian's postgresql to run them."; fi; }

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { echo "Python >= 3.11 with venv is needed: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --upgrade pip

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable . --group dev
	touch $(VENV)/.runtime $@

# The oldest wandb client that pyproject.toml admits, and nothing else: the newest is in $(VENV).
OLDEST := .venv-oldest
oldest: $(OLDEST)/.wandb  ## the environment for testing the oldest supported wandb client

$(OLDEST)/.wandb:
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check --quiet "wandb==0.26.0"
	touch $@

clean:  ## forget the environment, the caches and the demo
	rm -rf $(VENV) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis demo
