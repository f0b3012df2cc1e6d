# One command each; `make` alone lists them. The environment is made when first needed, and anew when its pins change.
# JOBS is the number of processes that tests run in; 0 is this one, as a debugger needs. The slow tests wait much of their time,
# for processes and limits: SLOW_JOBS is three more than the cores. They are handed out file by file, in the order of tests/conftest.py,
# so that what the tests of a file share, most of it a whole training, is made once. Those on Slurm share it, and run in one process.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
SLOW_JOBS ?= 5

PY := $(VENV)/bin/python
STAMP := $(VENV)/.videoadapt-installed
PARALLEL := -n $(JOBS) --dist worksteal
BY_FILE := -n $(SLOW_JOBS) --dist loadscope --no-loadscope-reorder --durations 20

.PHONY: help quickstart trunk env format lint test test-slow test-slurm test-all check clean

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 20

quickstart: $(STAMP)  ## train on a small rendered action set, test it, say what to try next
	$(PY) tools/run_net.py --cfg configs/quickstart.yaml

trunk: $(STAMP)  ## pre-train the masked trunk in the package anew, on a GPU (docs/masked_trunk.md)
	$(PY) tools/run_net.py --cfg configs/masked_trunk.yaml
	cp outputs/masked_trunk/trunk.safetensors videoadapt/assets/masked_trunk.safetensors

env: $(STAMP)  ## make the environment and install the package into it

format: $(STAMP)  ## format the code, and fix what the linter can fix
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lint: $(STAMP)  ## format, lint and types, changing nothing
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

test: $(STAMP)  ## the fast tests, in two processes (JOBS=2)
	$(PY) -m pytest -m "not slow and not slurm" $(PARALLEL)

test-slow: $(STAMP)  ## the slow tests, in five processes (SLOW_JOBS=5): processes, signals, whole trainings
	$(PY) -m pytest -m "slow and not slurm" $(BY_FILE)

test-slurm: $(STAMP)  ## the tests on a Slurm that they start here (root; packages: tests/cluster/packages.txt)
	$(PY) -m pytest -m slurm

test-all: test test-slow test-slurm  ## all tests

check: lint test-all  ## what CI runs

clean:  ## remove the default environment, caches and build products; outputs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an installation that was cut short is taken up again. pip and setuptools come first and at
# their tested versions, because three dependencies are built from source with them (no isolation: nothing untested).
$(STAMP): setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "videoadapt needs Python 3.11 or newer, and there is no '$(PYTHON)': install it, or name yours with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "videoadapt needs Python 3.11 or newer, '$(PYTHON)' is $$($(PYTHON) -V 2>&1): name a newer one with make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "videoadapt needs Python's venv module: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt --upgrade pip setuptools
	$(PY) -m pip install --no-build-isolation --constraint constraints.txt --editable '.[dev]'
	@touch $@
