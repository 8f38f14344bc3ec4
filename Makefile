# The same commands for people and for CI. `make` or `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := netslim-runs

.DEFAULT_GOAL := help
.PHONY: help install chromium postgresql demo test test-zoo test-browser lint format readmes bench images images-offline lock e2e-docker manifests e2e-cluster clean

help:  ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 16

$(VENV)/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); PyTorch is large, this takes minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/installed  ## netslim and everything it can use, into .venv

demo: $(VENV)/installed  ## the main job: slim a small VGG on handwritten digits, pass after pass
	$(BIN)/netslim run --output $(RUNS)

lint: $(VENV)/installed-dev  ## style and types
	@mkdir -p build/types/netslim_kfp
	@ln -sfn ../../../components build/types/netslim_kfp/components
	@ln -sfn ../../../pipelines build/types/netslim_kfp/pipelines
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev  ## put the code in its usual form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

readmes: $(VENV)/installed-dev  ## write the components' READMEs from their signatures
	$(BIN)/python -m netslim_kfp.components.readme

test: lint  ## style, types, and every test but the long ones
	$(BIN)/python -m pytest -m "not zoo and not browser and not docker and not cluster"

test-zoo: $(VENV)/installed-dev  ## every torchvision classifier with BatchNorm: pruned equals masked; writes docs/zoo.md (long)
	NETSLIM_ZOO_TABLE=docs/zoo.md $(BIN)/python -m pytest -m "zoo or not zoo" tests/netslim/test_zoo.py

bench: $(VENV)/installed-dev  ## time and memory of pruning, beside Torch-Pruning
	$(BIN)/python -m benchmarks.engine

images: $(VENV)/installed  ## the steps' container images; BASE=image@digest, VARIANT=cpu, PIP_CONF=file
	$(BIN)/python images/build.py $(if $(BASE),--base $(BASE)) $(if $(VARIANT),--variant $(VARIANT)) \
		$(if $(PIP_CONF),--pip-conf $(PIP_CONF))

images-offline: $(VENV)/installed  ## the same without an image registry: Debian's packages, this machine's pip
	$(BIN)/python images/build.py --base "$${BASE:-$$(images/base.sh)}" --host-wheels

lock: $(VENV)/installed  ## lock what the images install, from pyproject.toml and constraints.txt; VARIANT=cpu
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	PATH=$(BIN):$$PATH $(BIN)/python images/lock.py $(if $(VARIANT),--variant $(VARIANT))

chromium:
	@command -v chromium > /dev/null || (apt-get update && apt-get install --yes --no-install-recommends chromium)

test-browser: $(VENV)/installed-dev chromium  ## the report in a real browser, on a desk and on a phone
	$(BIN)/python -m pytest -m browser tests/browser

e2e-docker: $(VENV)/installed-dev  ## the whole pipeline in real containers; starts an engine if none runs
	images/e2e.sh $(BIN)/python

manifests: $(VENV)/installed-dev  ## render the manifests into build/, and hold them against schemas and policy
	@mkdir -p build/manifests
	@for overlay in local gpu-cluster; do \
		kubectl kustomize manifests/overlays/$$overlay > build/manifests/$$overlay.yaml || exit 1; \
	done
	$(BIN)/python -m pytest -m cluster tests/manifests

postgresql:
	@command -v initdb > /dev/null || ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || \
		(apt-get update && apt-get install --yes --no-install-recommends postgresql)

e2e-cluster: $(VENV)/installed-dev postgresql  ## the manifests' tracking server for real, on PostgreSQL and an S3 API
	$(BIN)/python -m pytest -m cluster tests/e2e/test_tracking_server.py

clean:  ## remove what was installed and made
	rm -rf $(VENV) $(RUNS) build dist *.egg-info
