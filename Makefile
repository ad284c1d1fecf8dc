# Everything a contributor runs. The first target makes .venv with all that is needed, once;
# changing pyproject.toml or constraints.txt brings it up to date.
#   make demo     train a real classifier in seconds, then look at what it left
#   make test     the tests           make check   formatting, lint, types, import layers, tests
#   make docs     the generated parts of ARCHITECTURE.md
#   make stress   the long tests      make bench   figures beside other tools (own environment)
# PYTHON=… chooses the interpreter, ARGS=… is passed on (make test ARGS="-k journal").

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV_PYTHON := .venv/bin/python
# One process a core, a file's tests together (they share what they set up). Debugging: make test ARGS="-n 0 -k …"
PYTEST := $(VENV_PYTHON) -m pytest -n auto --maxprocesses 8 --dist loadfile
STAMP := .venv/.installed
BENCH_STAMP := .venv-bench/.installed

# `make -f elsewhere/Makefile test` works like `make -C elsewhere test`; spaces in the path are fine.
HERE := $(shell cd -- "$$(dirname -- "$$(sed 's/^ *//' <<<"$(MAKEFILE_LIST)")")" && pwd -P)
ifneq ($(HERE),$(shell pwd -P))

%:
	@$(MAKE) -C "$(HERE)" $@
help:
	@$(MAKE) -C "$(HERE)" $@

else

.PHONY: help venv demo test lint check format docs stress bench clean-venv

help:
	@sed -n 's/^#   //p' Makefile

# A virtual environment knows its own path: one that came along with a moved or copied checkout is made anew.
$(shell for stamp in $(STAMP) $(BENCH_STAMP); do \
  [[ ! -s $$stamp || "$$(<$$stamp)" == "$(HERE)" ]] || rm -rf "$${stamp%/*}"; done)

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(call make_venv,.venv)
	@echo "Installing Trainyard and its tools into .venv (once; a few minutes) …"
	@$(VENV_PYTHON) -m pip install -qq -c constraints.txt -e '.[train,audio,speech,text,minilm,export,tracking,dev]'
	@echo "$(HERE)" > $@

$(BENCH_STAMP): benchmarks/requirements.txt constraints.txt pyproject.toml
	@$(call make_venv,.venv-bench)
	@echo "Installing the other tools into .venv-bench (once; a few minutes) …"
	@.venv-bench/bin/python -m pip install -qq -r benchmarks/requirements.txt
	@.venv-bench/bin/python -m pip install -qq -c benchmarks/requirements.txt -e '.[train,audio,text,minilm,export]'
	@echo "$(HERE)" > $@

demo: $(STAMP)
	@.venv/bin/trainyard train digits --yard outputs
	@echo; .venv/bin/trainyard runs --yard outputs
	@echo; .venv/bin/trainyard show last --yard outputs

test: $(STAMP)
	@$(PYTEST) $(ARGS)

lint: $(STAMP)
	@.venv/bin/ruff format --check --quiet . || { echo "Not formatted; run: make format"; exit 1; }
	@.venv/bin/ruff check --quiet .
	@$(VENV_PYTHON) -m mypy --no-error-summary
	@.venv/bin/lint-imports --no-cache

check: lint test

docs: $(STAMP)
	@PYTHONPATH=tests/shared $(VENV_PYTHON) tests/shared/architecture.py

format: $(STAMP)
	@.venv/bin/ruff check --quiet --fix-only .
	@.venv/bin/ruff format --quiet .

stress: $(STAMP)
	@$(PYTEST) --dist worksteal -m stress $(ARGS)

bench: $(BENCH_STAMP)
	@.venv-bench/bin/python -m benchmarks $(ARGS)

clean-venv:
	@rm -rf .venv .venv-bench

endif

# A virtual environment in $(1), unless a working one is there. Debian ships venv without ensurepip: say so plainly.
define make_venv
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
  { echo "Trainyard needs Python 3.11 or newer; $(PYTHON) is not. Install one or run: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }; \
"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
  { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
$(1)/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf $(1); "$(PYTHON)" -m venv $(1); }
endef
