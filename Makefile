# `make demo`: a finished table. `make test`: all checks. `make setup`: only installs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Five at once: much of what they do is waiting for processes. A file's tests share what it made.
TESTS ?= -n 5 --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint setup clean

demo: setup
	$(BIN)/equigrid run quickstart

test: lint
	$(BIN)/python -m pytest $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
