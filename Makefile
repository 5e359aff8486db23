# Forebay: one command per habit. Python 3.11+ and make are all a machine needs.
PYTHON ?= python3
BIN := .venv/bin
SEEDS ?= 5
UPGRADE ?= --upgrade
.DEFAULT_GOAL := help

.PHONY: help demo test lint k8s bench chaos docs lock clean

help: ## this list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "forebay: Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@echo 'setting up .venv (only the first time)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/.ready ## a sale on this machine: real Kafka, simulated models, a 40x spike, a worker killed
	@$(BIN)/forebay demo

test: .venv/.ready ## every test, on real Kafkas that it starts itself, one for each core
	$(BIN)/python -m pytest -n auto --maxprocesses 4

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

lock: .venv/.ready ## pins every dependency anew, with hashes; what is pinned stays so with make lock UPGRADE=
	$(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-header --all-extras --group dev --group bench \
		pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --constraint requirements.lock --group build \
		--extra console --extra eddsa --extra mcp --extra model-api --extra otel --extra redis \
		pyproject.toml --output-file requirements-image.lock

clean: ## forgets the environment and what the tools cached
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
