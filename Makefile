# What can be done here: make help
# Needs Python 3.11 or newer (another one than python3: make PYTHON=python3.13 ...) and a network.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

# Three a core: many tests wait for a server that is silent on purpose.
WORKERS ?= $(shell echo $$((3 * $$(getconf _NPROCESSORS_ONLN))))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow check docs drawings release bench chaos newcomer clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.core ## show what the cache does, on a registry and an image of its own
	@$(BIN)/layercache demo $(ARGS)

PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses=8

test: .venv/.dev ## run the tests in parallel (some: make test ARGS='-k digest')
	$(PYTEST) -m 'not slow' $(ARGS)

test-slow: .venv/.dev ## run the tests that make test leaves out: slow emulators, faults planted in backends
	$(PYTEST) -m slow $(ARGS)

check: .venv/.dev ## formatting, lint, types and the rules about who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

docs: .venv/.docs ## build the site of the documentation in build/site; warnings are errors
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -j auto -c docs/site -d build/doctrees . build/site
	@echo 'open build/site/index.html'

drawings: .venv/.dev ## draw the Mermaid blocks of the pages again, after a change of one
	@$(BIN)/python docs/site/draw.py

release: .venv/.dev ## build sdist, wheel and release notes into dist/, and try the wheel on each Python that is here
	@$(BIN)/python tests/release/run.py

bench: .venv/.dev ## measure against other tools
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

chaos: .venv/.dev ## use a cache for two minutes while it is killed and spoiled
	$(BIN)/python tests/chaos/run.py $(ARGS)

newcomer: ## install on every Python as a newcomer would, and do README and the tutorial (some: ARGS='3.12 /usr/bin/python3')
	@$(PYTHON) tests/newcomer/run.py $(ARGS)

clean: ## remove the environment and everything that was made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench-results
	find layercache backends tests -name __pycache__ -prune -exec rm -rf {} +

# Stamps in .venv say what it holds: an environment, the core alone, the dev group, the docs group. A .venv that works
# is kept, whoever made it; where its Python is gone or too old, or pip is missing, the stamps are void.
WORKS := $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
$(shell $(WORKS) || rm -f .venv/.made .venv/.core .venv/.dev .venv/.docs)

.venv/.core: pyproject.toml layercache/_version.py | .venv/.made
	@echo 'installing layercache into .venv'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable .
	@touch $@

# pip knows dependency groups from 25.1 on; Python 3.11 to 3.13 bring older ones.
.venv/.dev: pyproject.toml layercache/_version.py | .venv/.made
	@echo 'installing layercache and what its tests need into .venv'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -qq --editable '.[s3,gcs,fast,serve]' --group dev
	@touch .venv/.core $@

.venv/.docs: pyproject.toml | .venv/.core
	@echo 'installing what the site needs into .venv'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -qq --group docs
	@touch $@

.venv/.made:
	@$(ENVIRONMENT)
	@touch $@

# Debian and Ubuntu have the venv module apart from Python; virtualenv or uv do as well.
define ENVIRONMENT
if $(WORKS); then exit; fi; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
    echo "layercache needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)" >&2; \
    echo "Name another one: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }; \
rm -rf .venv; \
if $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
    $(PYTHON) -m venv .venv; \
elif $(PYTHON) -c 'import virtualenv' 2>/dev/null; then \
    $(PYTHON) -m virtualenv --quiet .venv; \
elif command -v virtualenv >/dev/null; then \
    virtualenv --quiet --python "$(PYTHON)" .venv; \
elif command -v uv >/dev/null; then \
    uv venv --quiet --seed --python "$(PYTHON)" .venv; \
else \
    echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian, Ubuntu:" >&2; \
    echo "apt-get install python3-venv), or virtualenv, or uv." >&2; exit 1; \
fi
endef
