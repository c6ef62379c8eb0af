# Start with `make demo` or `make test`. Everything is installed into .venv.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt# versions that the tests passed with; `make CONSTRAINTS=` installs the newest ones
BIN := .venv/bin
READY := .venv/.ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=10
INSTALL := $(BIN)/python -m pip install --quiet
export PYTHONDONTWRITEBYTECODE :=# where it is set, each process would compile everything that it imports

.PHONY: demo test lint types unit flow docs coverage format constraints clean

demo: $(READY)
	$(BIN)/attire demo --out attire-demo

# First what needs one core each, side by side; the tests use two.
test: $(READY)
	@$(MAKE) --jobs 2 types lint docs
	@$(MAKE) unit flow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

types: $(READY)
	$(BIN)/mypy

# In another process than the flow tests: the native libraries of all extras crash together (docs/decisions/020).
unit: $(READY)
	$(PYTEST) tests/unit src --numprocesses 2 --dist loadfile

flow: $(READY)
	$(PYTEST) tests/flow --numprocesses 2 --dist loadfile

# Not --quiet, which would hide the warnings that fail the build.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Separate from `unit`, because it makes the tests a third slower.
coverage: $(READY)
	$(PYTEST) tests/unit src --cov --cov-report=term-missing:skip-covered

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Names and versions of the installed packages.
constraints: $(READY)
	$(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+.*//' > constraints.txt

clean:
	rm -rf .venv attire-demo site

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "attire needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "setting up .venv (takes some minutes: torch is large)"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --upgrade "pip>=25.1"
	@# Modules are compiled when they are first imported; most of them never are, and all of them take longer than pip.
	@$(INSTALL) --no-compile $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable ".[all]" --group dev --group docs
	@touch $(READY)
