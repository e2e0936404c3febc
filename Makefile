# `make help` is made from the comments behind two hashes. Needs nothing but Python 3.11+, make and a POSIX shell.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first interpreter that is new enough; `make setup PYTHON=/path/to/python3.12` chooses another.
PYTHON = $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

VENV := .venv
BIN := $(VENV)/bin
# Compiled once here, or else at the first start of everything.
UV = VIRTUAL_ENV="$(CURDIR)/$(VENV)" UV_COMPILE_BYTECODE=1 $(BIN)/uv pip
CODE := $(wildcard src tests benchmarks)
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
# $(1): which tests. In CI, what failed is tried once more, alone: a few tests hold servers to times, on machines that
# others use too. What needed it is named at the end of the output, and what fails twice has failed.
pytest_in_ci = $(PYTEST) -rs -m "$(1)" $(ARGS) || { test -n "$$CI" && echo "Once more, what failed:" && \
	$(PYTEST) -n 0 -rP --show-capture=no --last-failed --last-failed-no-failures=none -m "$(1)" $(ARGS); }
QUICK := not services and not node and not slow
NODE_PROJECTS := $(wildcard tests/*/js/package.json tests/*/*/js/package.json benchmarks/peers/*/package.json)
# Root on Debian installs what is missing; anybody else is told what it is.
APT := apt-get install --yes --no-install-recommends

.PHONY: help setup demo cluster flower test check quick format messages types coverage bench services browser node lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------------------------------------- environment

setup: $(VENV)/.dev ## Build .venv with everything for work on Courtyard (quick when it is there)

# The installer, and what builds the project itself. A .venv that does not run (moved, interrupted) is built anew.
$(VENV)/.build: requirements/build.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Courtyard needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)." \
		"Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python cannot make virtual environments." \
		"On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "Making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the installer (uv)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@touch $@

# What Courtyard needs to run, and nothing else.
$(VENV)/.run: $(VENV)/.build requirements/run.txt pyproject.toml
	@echo "Installing what Courtyard runs on"
	@$(UV) install --require-hashes -r requirements/run.txt || { $(NO_COMPILER); exit 1; }
	@$(UV) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# `sync` also takes away what is no longer listed, the project itself included, which therefore comes after it.
$(VENV)/.dev: $(VENV)/.build requirements/dev.txt pyproject.toml
	@echo "Installing Courtyard's packages, tests and checks"
	@$(UV) sync --require-hashes requirements/dev.txt || { $(NO_COMPILER); exit 1; }
	@$(UV) install --quiet --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run $@

NO_COMPILER = command -v cc >/dev/null || echo "A package has no ready-made build for this machine and there is no C" \
	"compiler to make one. On Debian or Ubuntu: apt-get install build-essential python3-dev" >&2

lock: $(VENV)/.build ## Resolve the dependencies anew (ARGS=--upgrade for newer ones)
	$(COMPILE) pyproject.toml --all-extras --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --output-file requirements/run.txt
	$(COMPILE) pyproject.toml --all-extras --constraint requirements/dev.txt --output-file requirements/full.txt
	$(COMPILE) --group build --constraint requirements/dev.txt --output-file requirements/build.txt
	@! grep -n '://' requirements/*.txt || { echo "A requirements file names a download address." >&2; exit 1; }

# One resolution for every Python from 3.11 on, every system; run, full (with all extras) and build are parts of dev.
COMPILE = $(UV) compile --quiet $(ARGS) --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links

# --------------------------------------------------------------------------------------------------- running

demo: $(VENV)/.run ## Start a server and let a visitor and a volunteer talk (ARGS=--exit to leave afterwards)
	@$(BIN)/courtyard demo $(ARGS)

cluster: setup ## Run two servers, two Celery workers, a scheduler and nginx here, on what `make services` starts (ARGS=--exit)
	@$(BIN)/python -m tests.deploy.cluster $(ARGS)

flower: setup ## Watch Celery's workers and tasks in a browser, where tasks.runner is celery (ARGS="--port=5555")
	$(BIN)/courtyard flower $(ARGS)

bench: setup ## Measure against peers (ONLY=group, ARGS=...)
	@if command -v npm >/dev/null; then $(MAKE) node; fi
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)

# -------------------------------------------------------------------------------------------------- checking

test: check ## Everything: check, then the suites that need services, Node.js or patience
	@if command -v npm >/dev/null; then $(MAKE) node || test -z "$$CI"; fi
	$(call pytest_in_ci,not ($(QUICK)))

# Vulture takes fields of tables and Structs for unread variables, and misses imports for annotations: hence the filter.
check: setup ## Format, lint, types, borders, dead code, spelling, generated documents, migrations, quick tests
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo
	! $(BIN)/vulture | grep -vE 'unused (attribute|import|variable)'
	$(BIN)/codespell
	$(BIN)/courtyard openapi --check
	$(BIN)/courtyard asyncapi --check
	$(BIN)/courtyard permissions --check
	$(BIN)/courtyard limits --check
	$(BIN)/courtyard audit-names --check
	$(BIN)/courtyard metrics --check
	$(BIN)/courtyard migrate check
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(call pytest_in_ci,$(QUICK))

quick: setup ## The tests that need no services (ARGS="-k chat")
	$(PYTEST) -m "$(QUICK)" $(ARGS)

format: setup ## Format the code and repair what ruff can
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# Obsolete messages go; a message that only resembles an old one is not guessed (it would be wrong and look right).
messages: setup ## Bring the catalogues of all languages up to date with the texts of the templates
	@mkdir -p build
	@$(BIN)/pybabel --quiet extract --mapping=pyproject.toml --add-location=file --sort-by-file --no-wrap \
		--output=build/courtyard.pot src
	@for each in src/courtyard/locale/*/LC_MESSAGES/courtyard.po; do \
		$(BIN)/pybabel --quiet update --domain=courtyard --input-file=build/courtyard.pot --output-file=$$each \
		--locale=$$(basename $$(dirname $$(dirname $$each))) --no-fuzzy-matching --ignore-obsolete --no-wrap \
		--ignore-pot-creation-date && echo "$$each"; done

coverage: setup ## All tests with branch coverage, as a table
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist worksteal $(ARGS); status=$$?; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$status

# ---------------------------------------------------------------------------------------- what tests talk to

services: ## Install PostgreSQL, Redis, RabbitMQ, nginx and Prometheus for the tests (root on Debian) and start the first three
	@$(call install,postgresql redis-server rabbitmq-server nginx prometheus)
	@for each in postgresql:5432 redis-server:6379 rabbitmq-server:5672; do \
		service=$${each%:*} port=$${each#*:}; \
		if $(call answers,$$port); then echo "$$service runs already, on port $$port"; \
		else echo "Starting $$service"; service $$service start; fi; done
	@$(AS_POSTGRES) -c "SELECT 'there' FROM pg_roles WHERE rolname = 'courtyard'" | grep -q there || { \
		echo "Making the PostgreSQL role courtyard (password: courtyard), which may make databases"; \
		$(AS_POSTGRES) -c "CREATE ROLE courtyard LOGIN CREATEDB PASSWORD 'courtyard'"; }
	@echo "The tests find PostgreSQL by COURTYARD_TEST_POSTGRES=postgresql://courtyard:courtyard@127.0.0.1:5432"

AS_POSTGRES := cd / && runuser -u postgres -- psql --quiet --no-align --tuples-only
# $(1): a port of this machine. Asked itself, because a service may have been started without its service script.
answers = $(PYTHON) -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2)' $(1) 2>/dev/null

browser: ## Install Chromium for the browser tests (root on Debian)
	@command -v chromium >/dev/null && echo "chromium is there" || { $(call install,chromium); }

node: $(NODE_PROJECTS:package.json=node_modules/.installed) ## Install the npm packages of the tests and benchmarks

# Exact versions stand in package.json; npm's lock file would record download addresses, so there is none.
%/node_modules/.installed: %/package.json
	@command -v npm >/dev/null || { echo "npm is missing. On Debian or Ubuntu: apt-get install nodejs npm" >&2; exit 1; }
	npm install --prefix $* --no-package-lock --no-audit --no-fund --ignore-scripts
	@touch $@

# $(1): Debian packages. Installs those that are missing, or says which they are.
install = missing=$$(for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done | tr '\n' ' '); \
	if test -z "$$missing"; then echo "Installed already: $(1)"; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then echo "Installing $$missing"; \
		apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive $(APT) $$missing; \
	else echo "Please install: $$missing(as root on Debian or Ubuntu: apt-get install $$missing)" >&2; exit 1; fi

# -------------------------------------------------------------------------------------------------- clearing

clean: ## Remove everything that make built: .venv, npm packages, caches, reports
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
		.import_linter_cache .hypothesis .schemathesis $(NODE_PROJECTS:package.json=node_modules)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
