# Two commands, on a fresh machine with git, make and Python 3.11 or newer:
#   make demo    the whole service on a local cloud, six orders and a buyer's link, live
#   make test    lint, types, and every kind of test
PYTHON ?= python3
VENV   := .venv
CLOUD  := .venv-cloud
CHECKS := .venv-checks
BROWSER := .venv-browser
OPENAPI := .venv-openapi
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
UV_VERSION := 0.13.9
# Keep the user's settings for downloads and output. All other settings of Python, pip and uv are removed: they would
# install outside these folders (PIP_USER, UV_SYSTEM_PYTHON), add other code to them (PYTHONPATH), or let each command
# compile its modules again (PYTHONDONTWRITEBYTECODE).
KEPT := PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST PIP_CERT PIP_CLIENT_CERT \
        PIP_PROXY PIP_TIMEOUT PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CACHE_DIR PIP_CONFIG_FILE PIP_KEYRING_PROVIDER \
        UV_INDEX% UV_DEFAULT_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_OFFLINE UV_HTTP_TIMEOUT UV_HTTP_RETRIES \
        UV_NATIVE_TLS UV_SYSTEM_CERTS UV_INSECURE_HOST UV_KEYRING_PROVIDER UV_CACHE_DIR UV_CONFIG_FILE UV_LINK_MODE \
        PYTHONIOENCODING PYTHONUTF8 PYTHONUNBUFFERED
unexport VIRTUAL_ENV CONDA_PREFIX $(filter-out $(KEPT),$(filter PIP_% UV_% PYTHON%,$(.VARIABLES)))
export PATH := $(CURDIR)/$(BIN):$(PATH)
export SAM_CLI_TELEMETRY := 0
export __SAM_CLI_APP_DIR := $(CURDIR)/.aws-sam/app

.PHONY: help setup demo test test-browser test-fast explore drill soak test-chaos test-upgrade lint build deploy deploy-built docs bench bench-scale cost lock outdated clean test-unit

help: ## Describe each target
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

setup: $(VENV)/.installed $(CLOUD)/.installed ## Install everything into this folder (.venv, .venv-cloud)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.13 setup" >&2; exit 1; }
	@echo "Installing into $(VENV) and $(CLOUD) (first run only)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --no-user --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: requirements/dev.txt pyproject.toml | $(BIN)/uv
	@$(UV) pip sync --quiet --require-hashes --python $(BIN)/python requirements/dev.txt
	@$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

$(CLOUD)/.installed: requirements/cloud.txt | $(BIN)/uv
	@$(UV) venv --quiet --clear --python $(BIN)/python $(CLOUD)
	@$(UV) pip sync --quiet --require-hashes --python $(CLOUD)/bin/python requirements/cloud.txt
	@touch $@

# Only for tests, so that `make demo` does not wait for it.
$(CHECKS)/.installed: requirements/checks.txt | $(BIN)/uv
	@echo "Installing into $(CHECKS) (first test run only)"
	@$(UV) venv --quiet --clear --python $(BIN)/python $(CHECKS)
	@$(UV) pip sync --quiet --require-hashes --python $(CHECKS)/bin/python requirements/checks.txt
	@touch $@

# For the tests of the buyer's page alone. The browser itself is not a package: tests/browser/chromium.py looks for it.
$(BROWSER)/.installed: requirements/browser.txt | $(BIN)/uv
	@echo "Installing into $(BROWSER) (first test run only)"
	@$(UV) venv --quiet --clear --python $(BIN)/python $(BROWSER)
	@$(UV) pip sync --quiet --require-hashes --python $(BROWSER)/bin/python requirements/browser.txt
	@touch $@

# Checks the shop's API against docs/openapi.yaml.
$(OPENAPI)/.installed: requirements/openapi.txt | $(BIN)/uv
	@echo "Installing into $(OPENAPI) (first test run only)"
	@$(UV) venv --quiet --clear --python $(BIN)/python $(OPENAPI)
	@$(UV) pip sync --quiet --require-hashes --python $(OPENAPI)/bin/python requirements/openapi.txt
	@touch $@

FOR_TESTS := $(CHECKS)/.installed $(BROWSER)/.installed $(OPENAPI)/.installed

demo: setup ## Run six orders and a buyer's link through the whole service on a separate local cloud
	@$(BIN)/giftcards demo

test: setup ## Lint, types and every kind of test
	@$(MAKE) --no-print-directory -j 2 lint $(FOR_TESTS)
	@$(BROWSER)/bin/python tests/browser/chromium.py
	@$(BIN)/python tests/stack/interpreters.py
	$(BIN)/pytest -n 2 tests/unit tests/workflow tests/template tests/simulation tests/exploration
	$(BIN)/pytest -n 3 tests/stack $(foreach name,chaos shop_load speed upgrade,--ignore tests/stack/test_$(name).py)
	$(BROWSER)/bin/pytest -n 2 --confcutdir tests/browser tests/browser

test-browser: $(BROWSER)/.installed ## Test the buyer's page in a browser
	@$(BROWSER)/bin/python tests/browser/chromium.py
	$(BROWSER)/bin/pytest -n 2 --confcutdir tests/browser tests/browser

test-fast: lint $(FOR_TESTS) ## `make test` without the stack tests and the browser
	$(BIN)/pytest -n 2 tests/unit tests/workflow tests/template tests/simulation tests/exploration

test-unit: lint ## Lint, types and unit tests
	$(BIN)/pytest -n 2 tests/unit

explore: setup ## Explore further than `make test` (EXPLORE_BOUND=large): interleavings of an order and of the gate, random histories
	EXPLORE_BOUND=large $(BIN)/pytest -n 2 tests/exploration tests/simulation/test_properties.py

drill: setup ## Trigger each alarm on a local cloud, and fix its cause with the runbook's commands
	@PYTHONPATH=tools:tests $(BIN)/python -m drill

test-chaos: setup ## Run fifty orders at once on the local cloud, with faults, outages of a minute and killed functions
	$(BIN)/pytest -s tests/stack/test_chaos.py tests/stack/test_speed.py tests/stack/test_shop_load.py

test-upgrade: setup ## Deploy a changed release over twenty waiting orders on the local cloud
	$(BIN)/pytest tests/stack/test_upgrade.py

MINUTES ?= 10
soak: setup ## Inject every kind of fault at random for MINUTES=10 (SEED=n repeats a run)
	@PYTHONPATH=tests:bench $(BIN)/python -m simulation.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: setup ## ruff, mypy and codespell
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell

STAGE ?= dev
build: setup ## Build for STAGE=dev (staging, prod), as configured in samconfig.toml
	$(BIN)/sam build --config-env $(STAGE)

deploy: build ## Build, and deploy STAGE=dev (staging, prod) to AWS
	@$(MAKE) --no-print-directory deploy-built

# Each deployment is a new release, so that the same commit can be deployed again after a rollback.
RELEASE ?= $(or $(shell git rev-parse --short=7 HEAD | cut -c 1-7),none)-$(shell date +%s)
deploy-built: setup ## Deploy the existing build (OPTIONS="--s3-bucket ..." are passed to sam)
	@sed 's/"Release=none"/"Release=$(RELEASE)"/' samconfig.toml > .aws-sam/samconfig.toml
	$(BIN)/sam deploy --config-env $(STAGE) --config-file "$(CURDIR)/.aws-sam/samconfig.toml" $(OPTIONS)

docs: setup ## Regenerate the workflow's picture, event schemas, two pages and the metrics table
	@$(UV) pip install --quiet --require-hashes --python $(BIN)/python --requirements requirements/docs.txt
	$(BIN)/python tools/draw_workflow.py
	$(BIN)/python tools/write_schemas.py
	$(BIN)/python tools/write_openapi.py
	$(BIN)/python tools/write_metrics.py
	$(BIN)/python tools/write_reference.py
	$(BIN)/python tools/write_commands.py

pictures: $(BROWSER)/.installed ## Draw the pictures of the buyer's page in docs/pictures
	@PYTHONPATH=tests:layers/core $(BROWSER)/bin/python -m browser.draw_pictures

bench: setup ## Measure the handlers and orders of many cards: time, size, calls
	$(BIN)/python bench/cards.py
	@PYTHONPATH=tests $(BIN)/python bench/handlers.py

bench-scale: setup ## Compare today, the release before and the documents' loop under load (LONG=1: longer, writes docs/scale.md)
	@PYTHONPATH=tests $(BIN)/python bench/scale.py $(if $(LONG),--long)

cost: setup ## Compute the AWS cost of an order
	$(BIN)/python bench/cost.py

# Layers are resolved against dev.txt, so that tests use what is deployed. The Lambda runtime has boto3 and its
# dependencies.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
           --custom-compile-command "make lock"
RUNTIME_HAS := boto3 botocore s3transfer urllib3 python-dateutil six
lock: setup ## Resolve the requirement files again (add UPGRADE=--upgrade for newer versions)
	$(COMPILE) $(UPGRADE) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) $(UPGRADE) requirements/cloud.in -o requirements/cloud.txt
	$(COMPILE) $(UPGRADE) requirements/checks.in -o requirements/checks.txt
	$(COMPILE) $(UPGRADE) requirements/openapi.in -o requirements/openapi.txt
	$(COMPILE) $(UPGRADE) -c requirements/dev.txt requirements/browser.in -o requirements/browser.txt
	$(COMPILE) $(UPGRADE) -c requirements/dev.txt requirements/docs.in -o requirements/docs.txt
	$(COMPILE) $(UPGRADE) -c requirements/dev.txt $(RUNTIME_HAS:%=--no-emit-package %) \
	  layers/core/requirements.in -o layers/core/requirements.txt
	$(COMPILE) $(UPGRADE) -c requirements/dev.txt $(RUNTIME_HAS:%=--no-emit-package %) --no-emit-package jmespath \
	  layers/encryption/requirements.in -o layers/encryption/requirements.txt
	$(COMPILE) $(UPGRADE) -c requirements/dev.txt layers/page/requirements.in -o layers/page/requirements.txt

outdated: setup ## List requirements that have newer versions
	@$(BIN)/python tools/outdated.py

clean: ## Remove build results and caches (not the environments)
	rm -rf .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis
