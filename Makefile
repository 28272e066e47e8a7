# Everything a developer types. `.ci/run` calls the same targets.
.DEFAULT_GOAL := help
.PHONY: help setup servers run test faults conformance fuzz check format simulate bench docs release-contracts migrate lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_ARGS ?=
EXAMPLES := examples/inspections examples/site_diary
SECONDS ?= 60

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-17s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the locked dependencies (run and test call it)

$(STAMP): requirements.lock pyproject.toml $(EXAMPLES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("Trenza needs Python 3.11 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || echo "Making $(VENV) with $(PYTHON) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || (echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1)
	@echo "Installing the locked packages into $(VENV), once; on a slow line this takes minutes ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@echo "Installing Trenza and its examples ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --editable . $(EXAMPLES:%=--editable %)
	@touch $@

servers: ## Install the one server of the tests that no Python package brings (Debian and Ubuntu; asks for root)
	@command -v rabbitmq-server >/dev/null || test -x /usr/sbin/rabbitmq-server || { echo "Installing rabbitmq-server ..."; \
	  SUDO=$$(test "$$(id -u)" = 0 || echo sudo); $$SUDO apt-get update -qq && \
	  $$SUDO env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends rabbitmq-server >/dev/null; }

run: $(STAMP) ## Start every service in one process on http://127.0.0.1:8000
	$(BIN)/trenza up

test: $(STAMP) ## Run the tests (TEST_ARGS="-k photos" narrows them)
	$(BIN)/pytest -n 2 --dist loadgroup $(TEST_ARGS)

faults: $(STAMP) ## Run the fault tests at full size (FAULTS_SEED=… replays the kills of one run)
	FAULTS_PHOTOS=500 FAULTS_KILLS=10 FAULTS_POINTS=all $(BIN)/pytest -n 2 --dist loadgroup tests/faults $(TEST_ARGS)

conformance: $(STAMP) ## Hold every transport to its promises at full size (writes docs/transports.md)
	CONFORMANCE_EVENTS=100000 CONFORMANCE_KILLS=12 CONFORMANCE_POINTS=all CONFORMANCE_TABLE=docs/transports.md \
	  $(BIN)/pytest -n 2 --dist loadgroup --timeout 12000 tests/conformance $(TEST_ARGS)

fuzz: $(STAMP) ## Fuzz the parsers of image headers (SECONDS=600; findings go to .fuzz)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3,<4' \
	  || echo "atheris does not install on this Python; hypothesis does it alone" >&2
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; \
	  then $(BIN)/python tests/services/images/headers/fuzz_headers.py $(SECONDS) .fuzz; fi
	FUZZ_EXAMPLES=50000 $(BIN)/pytest --timeout 3600 tests/services/images/headers/test_header_fuzz.py

check: $(STAMP) ## Format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lint-imports --config examples/inspections/pyproject.toml

format: $(STAMP) ## Reformat the code and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

simulate: $(STAMP) ## Simulate the message layer under faults (SEEDS=10000; SEED=7 replays one)
	$(BIN)/python -m trenza.chassis.testing.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000))

bench: $(STAMP) ## Run the benchmarks; each prints a table of ratios
	$(BIN)/python -m bench

docs: $(STAMP) ## Print the generated pages of docs/ anew
	$(BIN)/trenza settings --markdown > docs/settings.md
	$(BIN)/trenza asyncapi > docs/asyncapi.json
	$(BIN)/trenza contracts > docs/contracts.json
	$(BIN)/trenza plan --deployment split --picture docs/deployment/split.svg
	$(BIN)/trenza gateway-config kong --deployment docs/deployment/containers.toml > docs/deployment/kong.json
	$(BIN)/trenza gateway-config aws --deployment docs/deployment/aws.toml > docs/deployment/aws-api-gateway.json

release-contracts: $(STAMP) ## Promise messages and operations as they are: what later breaks them fails
	$(BIN)/trenza asyncapi > docs/asyncapi.released.json
	$(BIN)/trenza contracts > docs/contracts.released.json

migrate: $(STAMP) ## Bring the databases of the data folder up to date
	$(BIN)/trenza migrate

lock: $(STAMP) ## Resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	  --upgrade --all-extras --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## Remove .venv and caches (never the data folder)
	rm -rf $(VENV) .bench .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
