SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
EDGE := $(VENV)/edge
DEV := $(VENV)/dev
DOCS := $(VENV)/docs
RELEASE := $(VENV)/release
CAPTURES ?= captures
PLATFORM ?= $(shell uname -m)
FIELD_PYTHONS ?= 3.11 3.13
INSTALL := -m pip --disable-pip-version-check install --quiet

.PHONY: help run report test check fix tree docs faults host-test wheelhouse release clean python-is-new-enough

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

run: $(EDGE)/.installed ## classify every frame that is copied into captures/, until Ctrl-C
	@mkdir -p $(CAPTURES)
	@echo "Copy frames into $(CAPTURES)/ (Ctrl-C ends). Then: make report"
	@$(EDGE)/bin/edge-classify --watch $(CAPTURES)

report: $(EDGE)/.installed ## write report.html from detections.db
	@$(EDGE)/bin/edge-report html --db detections.db --out report.html

test: check ## lint, types and all tests, as CI runs them
	$(DEV)/bin/pytest $(PYTEST_ARGS)

check: $(DEV)/.installed ## lint and types only
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

fix: $(DEV)/.installed ## let ruff mend and format what it can
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

tree: ## write the list of source files into docs/architecture.md
	$(PYTHON) docs/file_tree.py

docs: $(DOCS)/.installed ## build the manual as a static site in site/ and check its links
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "The manual is in site/index.html"

faults: $(DEV)/.installed ## the long attacks on the daemon: about an hour (FAULTS_KILLS=2000: more kills)
	FAULTS=long $(DEV)/bin/pytest tests/faults $(PYTEST_ARGS)

host-test: $(DEV)/.installed ## try the service on a Debian in a container (root, systemd-nspawn, debootstrap)
	$(DEV)/bin/pytest -v -rs tests/host $(PYTEST_ARGS)

wheelhouse: python-is-new-enough ## collect in dist/ what a device without internet needs (PLATFORM=aarch64)
	@PYTHON=$(PYTHON) systemd/wheelhouse.sh $(PLATFORM) "$(FIELD_PYTHONS)"

release: $(RELEASE)/.installed ## build sdist and wheel in dist/ and try each in an empty environment
	@PYTHON=$(PYTHON) HATCHLING=$(RELEASE)/bin/hatchling .ci/release

clean: ## remove the environments, caches and the built site
	rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache

# Each environment is made anew only when what it should hold changes.
$(EDGE)/.installed: pyproject.toml
	@echo "Making the device's environment in $(EDGE) (a minute the first time) ..."
	@$(MAKE) -s python-is-new-enough
	@$(PYTHON) -m venv $(EDGE)
	@$(EDGE)/bin/python $(INSTALL) -e .
	@touch $@

$(DEV)/.installed: pyproject.toml
	@echo "Making the development environment in $(DEV) (torch is large: some minutes the first time) ..."
	@$(MAKE) -s python-is-new-enough
	@$(PYTHON) -m venv $(DEV)
	@$(DEV)/bin/python $(INSTALL) -e '.[train,dev]'
	@# The validator of the megadetector package is wanted, not the detectors' frameworks that it would bring.
	@$(DEV)/bin/python $(INSTALL) --no-deps megadetector
	@touch $@

# The generator alone: a reader of the manual needs none of what edge-classify needs.
$(DOCS)/.installed: pyproject.toml
	@$(MAKE) -s python-is-new-enough
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python $(INSTALL) $$($(PYTHON) -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	@touch $@

$(RELEASE)/.installed: pyproject.toml
	@$(MAKE) -s python-is-new-enough
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python $(INSTALL) hatchling
	@touch $@

python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv is missing; install it with: sudo apt-get install python3-venv"; exit 1; }
