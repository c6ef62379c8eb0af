# The two commands of the README. Everything is installed into .venv; nothing else is touched.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test format clean

demo: $(READY)
	$(BIN)/attire demo --out attire-demo

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	# Not in one process: the native libraries of all extras together crashed it (docs/experiments.md).
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit src
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/flow --numprocesses 2 --dist loadfile

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv attire-demo

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "attire needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "setting up .venv (some minutes: torch is large)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	@touch $(READY)
