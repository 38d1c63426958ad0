# make run     the whole chain, from images to a promoted generator
# make test    lint, types, floors, and every test
# The first of either makes .venv from the lock. `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
export SET ?=
export IMAGES ?=
export PRODUCT ?=
export MINUTES ?= 30
# As typed: a dollar in a name is a dollar, and no variable of make's.
override SET := $(value SET)
override IMAGES := $(value IMAGES)
override PRODUCT := $(value PRODUCT)
CRON ?= 0 3 * * *

# Byte code makes every start two to three times faster.
unexport PYTHONDONTWRITEBYTECODE
export PREFECT_HOME ?= $(CURDIR)/.prefect
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
export DO_NOT_TRACK ?= true
export MLFLOW_DISABLE_TELEMETRY ?= true
export DVC_NO_ANALYTICS ?= 1
export ORT_DISABLE_TELEMETRY ?= 1
# Optional: 60,000 photographs for the tests that would rather have real ones.
export MONGE_CIFAR_ARCHIVE ?= $(abspath $(wildcard ../shared/data/cifar10-jpeg.tar.xz))

# Where .venv was made, if that is not here: its scripts name their Python by its whole path.
export MOVED_FROM := $(shell made=$$(sed -n 's/^command = .* --clear //p' .venv/pyvenv.cfg 2>/dev/null); \
	[ -z "$$made" ] || [ "$$made" = "$$(pwd -P)/.venv" ] || [ "$$made" = "$$(cd .venv && pwd -P)" ] || echo "$$made")

.PHONY: run up down status test test-anywhere soak lint format lock mlflow prefect schedule studies sbom clean help moved

run: .venv/ready ## The chain. IMAGES=your/pictures MINUTES=30; PRODUCT=name; SET="section.key=value ...".
ifneq ($(value IMAGES),)
	@MONGE_SET="$$SET" $(BIN)/monge new "$$PRODUCT" "$$IMAGES" --minutes "$$MINUTES"
else
	@MONGE_SET="$$SET" $(BIN)/python -m pipelines --product "$$PRODUCT" --minutes "$$MINUTES"
endif

up: .venv/ready ## All servers on this machine: UP="--mlflow-port 5001 ..."; again starts what is missing.
	@$(BIN)/python -m pipelines.stack up $(UP)

down: .venv/ready ## Stop them; data stay.
	@$(BIN)/python -m pipelines.stack down

status: .venv/ready ## What runs, since when, where, and what it is at.
	@$(BIN)/python -m pipelines.stack status $(if $(JSON),--json)

# A file's tests stay in one process: they share what its fixtures start. tests/order.py: which first.
PYTEST = $(BIN)/python -m pytest -n $(or $(WORKERS),3) --dist loadfile --no-loadscope-reorder $(TESTS)

test: .venv/ready lint ## Lint, types, floors, and every test. TESTS=path selects some; WORKERS=3.
	@.ci/chromium $(TESTS)
	@.ci/proxies $(TESTS)
	@$(PYTEST)

test-anywhere: .venv/ready ## The tests as on other processors and on a busy machine, TIMES=3. TESTS as above.
	@.ci/chromium $(TESTS)
	@.ci/proxies $(TESTS)
	@$(BIN)/python tests/anywhere.py $(or $(TIMES),3) $(PYTEST)

soak: .venv/ready ## Kill trainings for MINUTES=60 and compare every bit.
	@$(BIN)/python tests/faults/soak.py $(if $(filter file,$(origin MINUTES)),60,$(MINUTES))

lint: .venv/ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/ready ## Format the code and mend what the linter can.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

mlflow: .venv/ready ## MLflow's page over this project's runs and models, on port 5000.
	@MLFLOW_TRACKING_URI= MLFLOW_REGISTRY_URI= $(BIN)/monge models >/dev/null # mends it after a move
	@$(BIN)/mlflow server --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" \
		--artifacts-destination "$(CURDIR)/mlartifacts" --host 127.0.0.1 --port 5000

prefect: .venv/ready ## Prefect's server and page, on port 4200.
	@$(BIN)/prefect server start --host 127.0.0.1 --port 4200

schedule: .venv/ready ## Retrain on a schedule: CRON="0 3 * * *", PRODUCT=name. Needs `make up` or `make prefect`.
	@$(BIN)/python -m pipelines.deployments --cron "$(CRON)" --product "$$PRODUCT"

studies: .venv/ready ## Try the papers' claims: STUDIES="wgan/parallel_lines ..." or all; SEEDS=3. docs/studies.
	@$(BIN)/python -m pipelines.studies $(STUDIES) --seeds $(or $(SEEDS),3)

lock: .venv/ready ## Resolve the pins anew: requirements*.lock, for Linux, Python 3.11 to 3.13.
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --extra dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --constraint requirements.lock --extra server \
		pyproject.toml -o requirements-serve.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header requirements-uv.in -o requirements-uv.lock

sbom: .venv/ready ## What is installed, as a bill of materials (CycloneDX), and its licences.
	@$(BIN)/monge sbom

clean: ## Remove the environment and every output; data/raw and the DVC cache stay.
	rm -rf .venv .monge .prefect mlflow.db mlartifacts checkpoints checkpoints.replaced models reports data/prepared

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

moved:
	@echo "making .venv again: it was made as $$MOVED_FROM and works only there"

.venv/ready: requirements.lock requirements-uv.lock $(if $(MOVED_FROM),moved)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "monge needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is another: make PYTHON=python3.12"; exit 1; }
	@echo "making .venv from requirements.lock: 7 GB of packages, a minute or more"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
