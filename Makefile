# make setup, make demo, make test: each sets up .venv on a fresh machine, and once only.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Names the tests that took more than five seconds: such a test is marked slow, see CONTRIBUTING.md.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup --durations 20 --durations-min 5

.DEFAULT_GOAL := help

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(READY) ## Install everything into .venv from requirements.lock.

demo: $(READY) ## Train on movie reviews, and keep the maps.
	$(BIN)/python train.py task=nlp

test: $(READY) ## Show that the project works, in a few minutes: all tests that are not slow.
	$(PYTEST) -m "not slow"

test-slow: $(READY) ## Run the slow tests, which make test leaves out.
	$(PYTEST) -m slow

test-all: test test-slow conformance ## Run all tests, and compare every architecture.

lint: $(READY) ## Check style, types and the layering of the packages.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## Measure what attention and recording cost: tables, and JSON in outputs/benchmarks.
	$(BIN)/python -m benchmarks

bench-check: $(READY) ## The same, and fail where a bound is missed.
	$(BIN)/python -m benchmarks --check

conformance: $(READY) ## Compare the maps of every architecture of transformers with the truth.
	$(BIN)/python -m tests.conformance

format: $(READY) ## Put the code into its style.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(READY) ## Pin all dependencies again, from pyproject.toml and requirements.in.
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-annotate --extra dev -c requirements.in pyproject.toml -o requirements.lock

clean: ## Remove the environment and all caches of tools, not the runs.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# uv installs in parallel and compiles byte code; its version comes from the lock file too.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: Python 3.11 to 3.13 is needed, $$($(PYTHON) --version) was found; try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help setup demo test test-slow test-all lint bench bench-check conformance format lock clean
