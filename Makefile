# `make run` and `make test` need Python (>= 3.11), git and make; they set up .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
PROCESSES ?= 2
DEVICE ?= cpu

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-nightly lint typecheck docs docs-serve check format bench wheel clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## create .venv and install everything

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "diffgeo needs Python 3.11 or newer; use make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

run: $(READY) ## the default studies on the shipped model (minutes); ARGS="data.samples=8" adds settings
	$(BIN)/diffgeo processes=$(PROCESSES) $(ARGS)

# a worker per core, one thread each; a file's tests share their fixtures, and the small files of tests/unit come last
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(READY) ## the quick tests (minutes); ARGS="tests/unit -x" for a part
	$(PYTEST) $(ARGS)

test-slow: $(READY) ## the slow ones that CI runs as well (minutes)
	$(PYTEST) -m 'slow and not nightly' $(ARGS)

test-nightly: $(READY) ## those that CI has no time for (minutes each)
	$(PYTEST) -m nightly $(ARGS)

lint: $(READY) ## style and docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(READY) ## static types, strict
	$(BIN)/mypy

# not --quiet: --strict would then see no warning
docs: $(READY) ## build the documentation into build/docs, warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(READY) ## show the documentation at localhost:8000 and rebuild it after every change
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dirtyreload $(ARGS)

check: lint typecheck docs test ## what CI checks, except for the slow tests

format: $(READY) ## rewrite files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## measure the solvers and the products with J (minutes); DEVICE=cuda ARGS="--architecture celebahq" on a GPU
	$(BIN)/python benchmarks/solvers.py --out outputs/benchmarks --device $(DEVICE) $(ARGS)
	$(BIN)/python benchmarks/plot.py outputs/benchmarks
	$(BIN)/python benchmarks/products.py --out outputs/benchmarks --device $(DEVICE)

wheel: $(READY) ## build a wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove .venv and caches (never outputs/)
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
