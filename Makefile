# lull. Everything needs only Python 3.11, make and a package registry.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## Show this.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 20

$(VENV)/.ready: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on PATH; install Python 3.11 or say make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(VENV)/.ready ## Make the virtual environment from the lock.

.PHONY: check
check: setup ## Lint, types, and the arrows between rooms.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: check ## All checks and all tests, against a real MongoDB and a real Temporal server.
	$(BIN)/pytest

.PHONY: format
format: setup ## Write the code the way the formatter wants it.
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

UV_COMPILE := uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --python-version 3.11

.PHONY: lock
lock: ## Write both lock files anew from pyproject.toml; needs uv on PATH.
	$(UV_COMPILE) --extra dev pyproject.toml -o requirements.lock
	@# The image installs the wheel without an index: setuptools must be there already.
	echo setuptools | $(UV_COMPILE) --constraint requirements.lock pyproject.toml - -o requirements-runtime.lock

.PHONY: demo
demo: setup ## Run the main job on a year of flights beside a foreground; KEEP=1 leaves everything up.
	@$(BIN)/python -m examples.demo

.PHONY: bench
bench: setup ## Measure throughput against hand-written scripts, and what Temporal costs; QUICK=1 for three minutes.
	@$(BIN)/python -m benchmarks.throughput

.PHONY: bench-memory
bench-memory: setup ## Measure a worker's memory over a job of five million documents.
	@$(BIN)/python -m benchmarks.memory

.PHONY: bench-control
bench-control: setup ## Measure pauses and handovers under load.
	@$(BIN)/python -m benchmarks.control

.PHONY: bench-foreground
bench-foreground: setup ## Measure what a foreground feels beside governed jobs; QUICK=1 for a short form, ONLY=p99 for one part.
	@$(BIN)/python -m benchmarks.beside $(if $(ONLY),--only $(ONLY))

.PHONY: chaos
chaos: setup ## Kill, freeze and restart everything, many times, and count what was lost.
	@$(BIN)/python -m benchmarks.chaos
