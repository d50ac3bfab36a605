# make book: the findings book of the reference model.  make test: every check.
# make quick: lint, and the files of tests that take seconds.
# Both set up the same environment, .venv, first; set PYTHON to choose the interpreter.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := analysis store book headbook notebooks tests
export HF_HUB_OFFLINE ?= 1

.PHONY: book test quick lint lock pictures clean

book: .venv/ready
	$(BIN)/headbook build

test: .venv/ready lint
	$(BIN)/pytest --numprocesses 2 --dist loadscope

quick: .venv/ready lint
	$(BIN)/pytest --numprocesses 2 --dist loadscope -m quick

lint: .venv/ready
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/marimo check --strict notebooks/*.py

# The README's pictures, of the book as it is built now.
pictures: book
	$(BIN)/python -m tests.book.screenshots _build/html

# After raising the version of an experiment whose numbers changed.
lock: .venv/ready
	$(BIN)/python -m tests.lock

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headbook needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf _build .headbook
