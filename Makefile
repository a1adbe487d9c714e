# make run   an environment for the device, then edge-classify --watch captures
# make test  an environment for development, then lint, types and tests
# make report, make check, make fix, make tree, make wheelhouse, make host-test: see below
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
EDGE := $(VENV)/edge
DEV := $(VENV)/dev
CAPTURES ?= captures

.PHONY: faults run report test check tree fix wheelhouse host-test clean help

help:
	@sed -n 's/^# //p' Makefile

run: $(EDGE)/.installed
	@mkdir -p $(CAPTURES)
	@echo "Drop frames into $(CAPTURES)/ (Ctrl-C ends). Then: make report"
	@$(EDGE)/bin/edge-classify --watch $(CAPTURES)

report: $(EDGE)/.installed
	@$(EDGE)/bin/edge-report html --db detections.db --out report.html

test: check
	$(DEV)/bin/pytest $(PYTEST_ARGS)

# The long form of the attacks on the daemon: 200 kills, every write, 21,000 broken frames; about an hour.
# FAULTS_KILLS=2000 make faults kills it that often.
faults: $(DEV)/.installed
	FAULTS=long $(DEV)/bin/pytest tests/faults $(PYTEST_ARGS)

check: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

tree:
	$(PYTHON) docs/file_tree.py

fix: $(DEV)/.installed
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

# Each environment is made anew only when what it should hold changes.
$(EDGE)/.installed: pyproject.toml
	@echo "Making the device's environment in $(EDGE) (a minute the first time) ..."
	@$(MAKE) -s python-is-new-enough
	@$(PYTHON) -m venv $(EDGE)
	@$(EDGE)/bin/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV)/.installed: pyproject.toml
	@echo "Making the development environment in $(DEV) (torch is large: some minutes the first time) ..."
	@$(MAKE) -s python-is-new-enough
	@$(PYTHON) -m venv $(DEV)
	@$(DEV)/bin/pip install --quiet --disable-pip-version-check -e '.[train,dev]'
	@# Its validator is wanted, not the detectors' frameworks that it would bring.
	@$(DEV)/bin/pip install --quiet --disable-pip-version-check --no-deps megadetector
	@touch $@

# Everything a host without internet needs, in dist/, for a USB stick: make wheelhouse PLATFORM=aarch64
PLATFORM ?= $(shell uname -m)
FIELD_PYTHONS ?= 3.11 3.13

wheelhouse:
	@$(MAKE) -s python-is-new-enough
	@PYTHON=$(PYTHON) systemd/wheelhouse.sh $(PLATFORM) "$(FIELD_PYTHONS)"

# Boots a Debian in a container and does to the service what the field does; needs root, systemd-nspawn, debootstrap.
host-test: $(DEV)/.installed
	$(DEV)/bin/pytest -v -rs tests/host $(PYTEST_ARGS)

python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv is missing; install it with: sudo apt-get install python3-venv"; exit 1; }

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
