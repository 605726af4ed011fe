# The two commands of a fresh machine: `make run` and `make test`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' && echo $$p && break; done)
BIN := .venv/bin
# Debian/Ubuntu packages: of the lab, and of the machines with RDMA.
LAB_PACKAGES := $(shell grep -v '^\#' tests/lab/packages.txt 2>/dev/null)
# What needs hosts or containers of its own, one after the other; beside them only the emulated machines with RDMA.
ALONE := (lab and not beside) or docker or alone
WORKERS := $(shell expr $$(nproc) + 1)
RDMA_PACKAGES := $(shell grep -v '^\#' tests/rdma/packages.txt 2>/dev/null)

.PHONY: run test lint types borders test-rdma lab-deps rdma-deps lab-ready clean

run: .venv/installed
	@$(BIN)/diag run; status=$$?; echo "diag exit status $$status"; case $$status in 0|3) ;; *) exit $$status;; esac

test: lab-ready .venv/installed-dev lint types borders
	@status=0; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not ($(ALONE) or rdma)" || status=$$?; \
	said=$$(mktemp); $(BIN)/python -m pytest -m rdma > $$said 2>&1 & rdma=$$!; \
	$(BIN)/python -m pytest -m "($(ALONE)) and not rdma" || status=$$?; \
	wait $$rdma || status=$$?; cat $$said; rm -f $$said; \
	exit $$status

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# What runs on a node is a flat folder of top-level modules; start.py must parse under Python 2 and knows no types.
types: .venv/installed-dev
	$(BIN)/mypy
	cd diag/node && MYPYPATH=. ../../$(BIN)/mypy --strict --config-file= --explicit-package-bases --follow-imports=skip --ignore-missing-imports \
	  --cache-dir=../../.mypy_cache/node $$(ls *.py | grep -vx start.py)

borders: .venv/installed-dev
	$(BIN)/lint-imports

# Two emulated machines with soft-RoCE, and diag's own RDMA probes and tools on them.
test-rdma: .venv/installed-dev
	$(BIN)/python -m pytest -m rdma tests/rdma

# Under CI the lab must run, so its system packages are installed; elsewhere only `make lab-deps` does that. The machines
# with RDMA run wherever QEMU is to be had.
lab-ready:
	@if [ -n "$$CI" ]; then $(MAKE) --no-print-directory lab-deps; \
	  $(MAKE) --no-print-directory rdma-deps || echo "Makefile: QEMU cannot be installed here: the tests with RDMA are skipped" >&2; \
	fi

# policy-rc.d keeps apt from starting the services of what it installs.
define install
@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then \
  policy=/usr/sbin/policy-rc.d; made=; \
  if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' > $$policy && chmod +x $$policy && made=1; fi; \
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; status=$$?; \
  if [ -n "$$made" ]; then rm -f $$policy; fi; exit $$status; \
fi
endef

lab-deps:
	$(call install,$(LAB_PACKAGES))

rdma-deps:
	$(call install,$(RDMA_PACKAGES))

# Without torch everything but the collectives works; so a Python for which pip has no torch is no reason to stop.
.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[node]' \
	 || { echo "torch could not be installed: diag runs without it and does not measure collectives" >&2; \
	      $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .; }
	@touch $@

.venv/installed-dev: .venv/installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "Makefile: no Python >= 3.10 found; name one: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Makefile: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build dist
