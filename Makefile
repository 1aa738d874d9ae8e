# `make` alone lists what there is.
RECIPE ?= movielens
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup train serve test test-quick test-chaos lint types shape check docs notebooks lab loop bench clean

help:  ## this list
	@echo 'make <target> [RECIPE=retail] [ARGS="--set training.epochs=3"]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED)  ## make .venv with the pinned dependencies (the others do it first); PYTHON=python3.12 chooses

train: $(INSTALLED)  ## train, evaluate, index and export RECIPE (default: movielens); ARGS go to `twotower train`
	@$(BIN)/twotower train $(RECIPE) $(ARGS)

serve: $(INSTALLED)  ## serve the newest export of RECIPE and its users on this machine; ARGS go to `twotower serve`
	@$(BIN)/twotower load runs/$(RECIPE)/latest --store sqlite:runs/$(RECIPE)/store.db --once
	@$(BIN)/twotower serve runs/$(RECIPE)/latest/export --store sqlite:runs/$(RECIPE)/store.db $(ARGS)

# Two processes with one thread each, a file at a time, the long files first (tests/conftest.py). They start some twenty
# others: each would compile the package's 400 modules, for half a second, where images forbid to keep them compiled.
test: $(INSTALLED)  ## run all tests; ARGS go to pytest
	@TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-quick: $(INSTALLED)  ## two minutes: all but the long trainings, which tests/conftest.py names
	@$(MAKE) test ARGS="-m 'not slow' $(ARGS)"

test-chaos: $(INSTALLED)  ## three minutes of load while versions swap, stores fail and the server is killed
	@TWOTOWER_CHAOS_SECONDS=$${TWOTOWER_CHAOS_SECONDS:-180} $(BIN)/python -m pytest -s tests/chaos $(ARGS)

lint: $(INSTALLED)  ## flake8, the order of imports, the layers of the package
	@$(BIN)/python -m flake8
	@$(BIN)/python -m isort --check --diff --quiet .
	@out=$$($(BIN)/lint-imports --no-cache 2>&1) || { echo "$$out"; exit 1; }

types: $(INSTALLED)  ## mypy on the package
	@$(BIN)/python -m mypy

shape: $(INSTALLED)  ## files, functions, rooms, and the files on two walks; ARGS="--files" names these
	@$(BIN)/python -m bench.shape $(ARGS)

check: lint types test  ## lint, types and test

docs: $(INSTALLED)  ## build the documentation site into build/site; a warning or a dead link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build $(ARGS)

notebooks: $(INSTALLED)  ## execute the notebooks in place; ARGS="01_quickstart" chooses
	@$(BIN)/python notebooks/run.py $(ARGS)

lab: $(INSTALLED)  ## open the notebooks in JupyterLab, on this machine alone
	@$(BIN)/jupyter lab --notebook-dir notebooks $(ARGS)

loop: $(INSTALLED)  ## two simulated weeks of a shop whose model learns from what it shows; ARGS="--days 5"
	@$(BIN)/python -m notebooks.loop $(ARGS)

bench: $(INSTALLED)  ## run every benchmark and write bench/RESULTS.md
	@set -e; for file in bench/bench_*.py; do \
	  echo "== $$file"; $(BIN)/python -m bench.$$(basename $$file .py) $(ARGS); \
	done
	@$(BIN)/python -m bench.results_md

clean:  ## remove .venv, caches and built files; runs/ and downloads/ stay
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# TensorFlow Recommenders asks on macOS for tensorflow-macos, which ended at 2.16: there it goes in without
# its dependencies, which setup.cfg lists anyway.
$(INSTALLED): setup.py setup.cfg pyproject.toml constraints.txt
	@set -e; \
	if [ ! -x $(BIN)/python ] || [ ! -x $(BIN)/pip ]; then \
	  fits='import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'; \
	  for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.10 python3); do \
	    if $$python -c "$$fits" 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo 'Python 3.10 to 3.13 is needed$(if $(PYTHON),; $(PYTHON) is not one). Install it, for example: apt install python3.11 python3.11-venv' >&2; \
	    exit 1; \
	  fi; \
	  version=$$($$found -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  if ! $$found -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "The venv module of Python $$version is missing. Install it, for example: apt install python$$version-venv" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making .venv with Python $$version."; \
	  $$found -m venv .venv; \
	fi; \
	echo 'Installing the pinned dependencies into .venv (once; some minutes, 3 GB).'; \
	all=$$(grep '==' constraints.txt | grep -vc '< "3.11"'); \
	[ ! -t 1 ] || while sleep 1; do \
	  if grep -qs 'Installing collected' .venv/pip.log; then what='installing them'; else \
	    what="found $$(grep -s 'Collecting ' .venv/pip.log | wc -l) of $$all packages"; fi; \
	  printf '\r\033[K%s' "$$what"; \
	done & bar=$$!; \
	trap "kill $$bar 2>/dev/null || :; [ ! -t 1 ] || printf '\r\033[K'" EXIT; trap 'exit 130' INT TERM; \
	$(BIN)/python -m pip install -qq --log .venv/pip.log --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	if [ "$$(uname)" = Darwin ]; then \
	  $(BIN)/python -m pip install -qq --no-deps -c constraints.txt tensorflow-recommenders; \
	fi; \
	touch $@
