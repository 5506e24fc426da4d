# Two commands: `make run` and `make test`. What they need they install themselves, into .venv, from the lock files.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: run test test-all lint soak bench install install-dev
.SILENT:

run: install
	exec $(BIN)/python -m config.run.launch

test: install-dev
	exec $(BIN)/python -m tests.suite test

test-all: install-dev
	exec $(BIN)/python -m tests.suite test-all

lint: install-dev
	exec $(BIN)/python -m tests.suite lint

soak: install-dev
	exec $(BIN)/python -m tests.suite soak

bench: install-dev
	exec $(BIN)/python -m tests.suite bench

install:
	$(PYTHON) -I config/run/install.py run

install-dev:
	$(PYTHON) -I config/run/install.py dev
