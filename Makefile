# `make demo`: a finished table. `make test`: all checks. `make setup`: only installs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LINKS := build/links
# Five at once: much of what they do is waiting for processes. A file's tests share what it made.
TESTS ?= -n 5 --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint links setup clean

demo: setup
	$(BIN)/equigrid run quickstart

test: lint
	$(BIN)/python -m pytest $(TESTS)

lint: setup links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(LINKS) $(BIN)/mypy
	PYTHONPATH=$(LINKS) $(BIN)/lint-imports --no-cache

# The folders as the one package that they are installed as: what reads files, not Python's import,
# needs it. An editable install finds new files by itself.
links:
	@rm -rf $(LINKS) && mkdir -p $(LINKS)/equigrid
	@ln -s $(CURDIR)/pipeline/* $(CURDIR)/stages $(CURDIR)/search_spaces $(LINKS)/equigrid

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
