# Forebay: one command per habit. Python 3.11+ and make are all a machine needs.
PYTHON ?= python3
BIN := .venv/bin
# uv sets up in a tenth of pip's time. It comes from PyPI, pinned, where there is none; make UV= does without it.
UV ?= $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
SEEDS ?= 5
UPGRADE ?= --upgrade
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header
PINNED = --no-annotate --constraint requirements.lock
IMAGE = console deliver eddsa encryption gateway mcp model-api otel redis worker
.DEFAULT_GOAL := help

.PHONY: help demo test test-fast lint k8s bench chaos docs lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "forebay: Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@echo 'setting up .venv (only the first time)'
	@$(PYTHON) -m venv --without-pip .venv

$(BIN)/uv: | $(BIN)/python
	@if $(PYTHON) -m pip --python $(BIN)/python --version >/dev/null 2>&1; then pip='$(PYTHON) -m pip --python $(BIN)/python'; \
	else $(BIN)/python -m ensurepip >/dev/null; pip='$(BIN)/python -m pip'; fi; \
	$$pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.lock \
		|| echo 'no uv: pip sets up, and takes longer'

# What a lock pins, and this checkout.
install = set -e; \
	if [ -n "$(UV)" ] && command -v "$(UV)" >/dev/null; then pip='$(UV) pip install --quiet --python $(BIN)/python'; \
	else $(BIN)/python -m ensurepip >/dev/null; pip='$(BIN)/python -m pip install --quiet --disable-pip-version-check'; fi; \
	$$pip --require-hashes --requirement $<; \
	$$pip --no-deps --no-build-isolation --editable .; \
	touch $@

.venv/.ready: requirements.lock pyproject.toml | $(BIN)/python $(filter $(BIN)/uv,$(UV))
	@$(install)
	@touch .venv/.demo

.venv/.demo: requirements-demo.lock pyproject.toml | $(BIN)/python $(filter $(BIN)/uv,$(UV))
	@$(install)

demo: .venv/.demo ## a sale on this machine: real Kafka, simulated models, a 40x spike, a worker killed
	@$(BIN)/forebay demo

test: .venv/.ready ## every test, on real Kafkas that it starts itself
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test-fast: .venv/.ready ## the unit tests that take no time, under a minute, while you work
	$(BIN)/python -m pytest tests/unit -q -n logical -m 'not takes'

lint: .venv/.ready ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

k8s: .venv/.ready ## the overlays: built, checked against the schemas of Kubernetes and its operators, scored (needs Go)
	$(BIN)/python -m tests.k8s

bench: .venv/.ready ## the engine beside its peers, medians of 3, then the whole way (docs/benchmarks.md)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.whole

chaos: .venv/.ready ## seeds of kills, stops, outages and poison, all counted from the topics: make chaos SEEDS=20
	$(BIN)/python -m forebay.rehearsal.chaos --seeds $(SEEDS)

docs: .venv/.ready ## writes docs/configuration.md from the settings
	$(BIN)/python -m forebay.cli.configuration > docs/configuration.md

lock: .venv/.ready ## pins every dependency anew, with hashes; with UPGRADE= only what is new
	$(COMPILE) $(UPGRADE) pyproject.toml --all-extras --group dev --group bench --output-file requirements.lock
	$(COMPILE) $(PINNED) pyproject.toml --group build --extra local --output-file requirements-demo.lock
	$(COMPILE) $(PINNED) pyproject.toml --group build $(IMAGE:%=--extra %) --output-file requirements-image.lock
	$(COMPILE) $(PINNED) --group installer --output-file requirements-uv.lock

clean: ## forgets the environment and what the tools cached
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
