# The one entry for people and for CI. It needs Python 3.11 or newer, make and, the
# first time, a network. Everything it makes stays in ignored folders.

PYTHON ?= python3
# Of `make demo`. local: a small one in Python. reference: the official PDS, from npm.
# live: the public network.
NETWORK ?= local
# An application of yours to run in it, by MODULE:NAME, in this directory. Empty: ours.
APP ?=
# What `make test` runs: files, names or options of pytest. Empty: everything.
T ?=
# How many processes share the work of a whole `make test`. Tests mostly wait, so more than
# there are cores; 0: none but pytest itself.
WORKERS ?= 3
# Of `make soak`: cookie-host, cookie-redis, server-sqlite, server-redis, server-postgres,
# race; control, which has to fail. Empty: all but that, in a quarter of an hour.
CASE ?=
# What `make mutants` changes: names of parts, or bits of paths. Empty: the whole core.
FILES ?=
# Groups of rules that `make conformance` wants to be closed: REQUIRE=NET,DOS
REQUIRE ?=

DEMO = $(or $(DEMO_$(NETWORK)),$(error NETWORK is local, reference or live))
DEMO_local := atproto_oauth_asgi demo
DEMO_reference := tests.reference_network.demo
DEMO_live := atproto_oauth_asgi demo --live

VENV := .venv
BIN := $(VENV)/bin
PDS := tests/reference_network
BROWSER := tests/browser
RACE := tests/soak/race
TYPING := tests/typing
PIP_AUDIT := pip-audit==2.10.1
PYRIGHT := $(TYPING)/node_modules/.bin/pyright
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

NPM_CI = said=$$($(BIN)/npm --prefix $(dir $(@D)) ci --ignore-scripts --no-audit --no-fund 2>&1) \
	  && touch $@ || { echo "$$said"; exit 1; }

# Stamps: each says that a step was done for the files it depends on.
PINNED := $(VENV)/.pinned
INSTALLED := $(VENV)/.installed
PDS_INSTALLED := $(PDS)/node_modules/.installed
BROWSER_INSTALLED := $(BROWSER)/node_modules/.installed
RACE_INSTALLED := $(RACE)/node_modules/.installed
PYRIGHT_INSTALLED := $(TYPING)/node_modules/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check types conformance fix bench soak \
  mutants package lowest sbom audit docs screenshots lock venv pds clean

help: ## this list
	@echo "make TARGET"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(INSTALLED) $(if $(filter reference,$(NETWORK)),$(PDS_INSTALLED)) ## a login to try, at once (NETWORK=reference: the official PDS; live: your own account)
	@$(BIN)/python -m $(DEMO)$(if $(APP), --app $(APP))

ifeq ($(strip $(T)),)
test: $(INSTALLED) $(PDS_INSTALLED) $(BROWSER_INSTALLED) ## every test, with coverage; or some, without: make test T=tests/protocol
	@echo "tests: all, with coverage"
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses=$(WORKERS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
else
test: $(INSTALLED) $(PDS_INSTALLED) $(BROWSER_INSTALLED)
	@$(BIN)/python -m pytest $(T)
endif

# All four run, also when one has failed.
check: $(INSTALLED) ## format, lint, types, direction of imports: seconds
	@failed=0; \
	$(BIN)/ruff format --check --quiet . || { echo "Not formatted: make fix"; failed=1; }; \
	$(BIN)/ruff check --quiet . || failed=1; \
	$(BIN)/mypy || failed=1; \
	$(BIN)/lint-imports --no-logo --no-cache || failed=1; \
	exit $$failed

# What users see of the types. Pyright asks the first python on the PATH where packages
# are; what other packages leave unknown is theirs.
types: $(INSTALLED) $(PYRIGHT_INSTALLED) ## the public types, as users and a second checker see them: seconds
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	said=$$($(PYRIGHT) --verifytypes atproto_oauth_asgi --ignoreexternal) \
	  || { echo "$$said" | sed -n '/^Symbols used/,$$p'; exit 1; }; \
	echo "$$said" | grep "completeness score"; \
	$(PYRIGHT) --project $(TYPING)

# Of the last `make test`, and of what was run in parts since.
conformance: $(INSTALLED) ## which rules the tests show: after make test (REQUIRE=NET: fail if one is open)
	@$(BIN)/python -m tests.conformance --require "$(REQUIRE)"

fix: $(INSTALLED) ## format, and repair what the linter can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

bench: $(INSTALLED) ## measure
	@$(BIN)/python -m tests.benchmarks

# They are the pictures of the documentation; look at them before you commit.
screenshots: $(INSTALLED) $(PDS_INSTALLED) ## take the pictures of our pages, in Chromium, into docs/images/
	@$(BIN)/python -m tests.browser.pictures

soak: $(INSTALLED) $(PDS_INSTALLED) $(RACE_INSTALLED) ## sessions under force, for minutes (CASE=cookie-host: one case)
	@$(BIN)/python -m tests.soak $(CASE)

mutants: $(INSTALLED) ## change the core, bit by bit, and see that the tests notice: for minutes (FILES=crypto: a part)
	@$(BIN)/python -m tests.mutation $(FILES)

# Also tells which Pythons are not there; PYTHONS=/path/to/python3.14 names others.
package: $(INSTALLED) ## build wheel and sdist into dist/, check them, and try the wheel on each Python
	@$(BIN)/python -m tests.packaging package everywhere

lowest: $(INSTALLED) ## try the wheel with the lowest versions of the dependencies it allows
	@$(BIN)/python -m tests.packaging package lowest

sbom: $(INSTALLED) ## the bill of materials, CycloneDX, into sbom/
	@$(BIN)/python -m tests.packaging sbom

audit: $(INSTALLED) ## ask the index for advisories on what is pinned
	@$(BIN)/uv tool run --from $(PIP_AUDIT) pip-audit --strict --disable-pip --require-hashes \
	  --requirement requirements-dev.txt

docs: $(INSTALLED) ## build the documentation into site/
	@$(BIN)/zensical build --strict --clean

# Keeps the pins that still fit; `make lock UPGRADE=--upgrade` moves them all.
lock: $(INSTALLED) ## pin every dependency in requirements-dev.txt
	@echo "lock: requirements-dev.txt"
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet $(UPGRADE) \
	  --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --all-extras --group dev pyproject.toml --output-file requirements-dev.txt

venv: $(INSTALLED) ## the virtual environment in .venv/

pds: $(PDS_INSTALLED) $(BROWSER_INSTALLED) ## the official PDS and PLC directory, and axe-core, for the tests

clean: ## remove all that make has made
	@rm -rf $(VENV) $(PDS)/node_modules $(BROWSER)/node_modules $(RACE)/node_modules $(TYPING)/node_modules \
	  .cache .conformance .mutants site dist sbom htmlcov .coverage .coverage.* \
	  .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find atproto_oauth_asgi tests -name __pycache__ -prune -exec rm -rf {} +

$(PINNED): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3"; exit 1; }
	@echo "setup: Python packages into $(VENV) (half a minute, the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@touch $@

# The build backend is among the pins, so nothing is downloaded here.
$(INSTALLED): pyproject.toml $(PINNED)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Install scripts stay off: nothing here needs them.
$(PDS_INSTALLED): $(PDS)/package.json $(PDS)/package-lock.json | $(INSTALLED)
	@echo "setup: the official PDS from npm into $(@D) (15 seconds, the first time)"
	@$(NPM_CI)

# What looks at our pages for barriers.
$(BROWSER_INSTALLED): $(BROWSER)/package.json $(BROWSER)/package-lock.json | $(INSTALLED)
	@echo "setup: axe-core from npm into $(@D)"
	@$(NPM_CI)

$(RACE_INSTALLED): $(RACE)/package.json $(RACE)/package-lock.json | $(INSTALLED)
	@echo "setup: the official Node client from npm into $(@D)"
	@$(NPM_CI)

$(PYRIGHT_INSTALLED): $(TYPING)/package.json $(TYPING)/package-lock.json | $(INSTALLED)
	@echo "setup: pyright from npm into $(@D)"
	@$(NPM_CI)
