# `make run` needs CPython 3.11 to 3.14, make, and a package index. It installs everything else.

# The first supported Python. If there is none, the first one of any version, which then says why it isn't
# supported. Set PYTHON to choose another.
SUPPORT := aisaas/platform_support.py
READS_SUPPORT := import sys; sys.exit(sys.version_info < (3, 6))
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -I $(SUPPORT) >/dev/null 2>&1 && echo $$p && exit; done; \
	for p in $(PYTHONS); do $$p -I -c '$(READS_SUPPORT)' 2>/dev/null && echo $$p && exit; done)
VENV := .venv
PY := $(VENV)/bin/python

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# An empty PORT counts as not set.
ifeq ($(strip $(PORT)),)
unexport PORT
endif

# The lock is complete: pip installs exactly what it lists and resolves nothing, so neither a new release nor
# an old pip can change what is installed. `pip check` proves that nothing is missing.
# Only wheels are used, because building a package would fetch build tools that no lock pins.
# The dots show progress. The stamp is a copy of the pins, so a checkout that only changes timestamps
# installs nothing.
define install
cmp -s $(1).txt $(VENV)/$(subst /,-,$(1)).installed || { \
	printf 'Installing the packages of $(1).txt '; \
	$(PY) -m pip install --quiet --quiet --no-deps --only-binary :all: --require-hashes -r $(1).txt & pip=$$!; \
	trap 'kill $$pip; exit 130' INT TERM; \
	while kill -0 $$pip 2>/dev/null; do printf '.'; sleep 1; done; \
	wait $$pip && echo ' done' && { wrong=$$($(PY) -m pip check) || { echo "$$wrong" >&2; exit 1; }; } && \
	cp $(1).txt $(VENV)/$(subst /,-,$(1)).installed; }
endef

.PHONY: run dev shell db test test-browsers coverage migration check fix lock clean venv venv-run venv-dev help

help:
	@echo 'make run     start everything at http://127.0.0.1:3000 (PORT=3001 make run for another port)'
	@echo 'make dev     the same, and restart the app when a source file changes'
	@echo 'make shell   a Python prompt with the services of the running instance'
	@echo 'make db      psql on the database of the running instance'
	@echo 'make test    run the tests; make test k=words runs those whose names contain the words'
	@echo 'make test SEED=random   the same in a random order, which SEED=number repeats'
	@echo 'make coverage   run the tests, and list the lines that none of them reached'
	@echo 'make test-browsers   run the main flows in Firefox and WebKitGTK'
	@echo 'make check   check style, types, and architecture; changes nothing'
	@echo 'make fix     fix what can be fixed automatically'
	@echo 'make migration m="add a column"   write the migration that the tables and functions need'
	@echo 'make lock    pin the dependencies after requirements*.in has changed'
	@echo 'make clean   remove what was built or installed; data in .aisaas stays'

run: venv-run
	@$(PY) -m aisaas run

dev: venv-run
	@$(PY) -m aisaas run --reload

shell: venv-run
	@$(PY) -m aisaas shell

db: venv-run
	@$(PY) -m aisaas db psql

# Each worker has servers of its own. Two keep two cores busy; on more cores, WORKERS=4 takes half the time.
# `make test k=words` runs the tests whose names contain the words.
WORKERS ?= 2

PYTEST := pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: venv-dev
	@$(PY) -m devstack.chromium
	@$(PY) -m $(PYTEST) $(if $(k),-k '$(k)')

# Lines reached by any test, in this process or one that it starts.
coverage: venv-dev
	@$(PY) -m devstack.chromium
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m $(PYTEST) $(if $(k),-k '$(k)')
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report --skip-covered --show-missing

# The main flows in Firefox and WebKitGTK, which the machine must have.
test-browsers: venv-dev
	@$(PY) -m pytest tests/browsers

check: venv-dev
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/pyright
	@$(VENV)/bin/lint-imports

migration: venv-dev
	@PYTHONPATH=. $(PY) alembic/new_migration.py "$(m)"

fix: venv-dev
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

# Only releases that are at least a week old: a malicious release is usually found within days.
lock: venv-dev
	@since=$$($(PY) -c 'import datetime as d; print(d.datetime.now(d.UTC).date() - d.timedelta(7))'); \
	for name in requirements requirements-build devstack/requirements requirements-dev tests/install/newest-pip; do \
		$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --no-header --exclude-newer "$$since" \
			--output-file $$name.txt $$name.in || exit 1; \
	done

clean:
	rm -rf $(VENV) .web .states .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Recreates the environment if an earlier attempt was interrupted or its Python isn't supported.
venv:
	@$(PYTHON) -I -c '$(READS_SUPPORT)' 2>/dev/null || { \
		echo 'No supported Python was found. Install Python 3.11 to 3.14, or pass its path: make run PYTHON=/path/to/python3' >&2; exit 1; }
	@{ $(PY) -I $(SUPPORT) && $(PY) -m pip --version; } >/dev/null 2>&1 || { \
		$(PYTHON) -I $(SUPPORT) || exit 1; \
		$(PYTHON) -m venv --clear $(VENV) || { \
		echo 'The virtual environment could not be created. On Debian and Ubuntu, install the package python3-venv.' >&2; exit 1; }; }
	@$(call install,requirements)
	@$(call install,requirements-build)

# Also what `run` starts on this machine, which production has elsewhere.
venv-run: venv
	@$(call install,devstack/requirements)

venv-dev: venv-run
	@$(call install,requirements-dev)
