# The same commands for people and for CI. `make` or `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := netslim-runs
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores > 4 ? 4 : cores)))

# One process per core, at most four, and one thread for each: two processes with all threads are slower than one.
# The files stay in the order of tests/conftest.py, slow ones first; xdist's own order is by the number of tests.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
USUAL := not zoo and not collections and not browser and not docker and not cluster and not faults

.DEFAULT_GOAL := help
.PHONY: help install demo lint lint-tests format readmes schema api test test-quick test-faults test-zoo \
	test-collections test-browser coverage bench bench-gpu-smoke \
	images images-offline lock e2e-docker manifests e2e-cluster e2e-kind chromium postgresql release clean distclean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 16

$(VENV)/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); PyTorch is large, so the first time takes minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/installed  ## install netslim and everything it can use into .venv

demo: $(VENV)/installed  ## the main job: slim a small VGG on handwritten digits in three passes
	$(BIN)/netslim run --max-layer-percent 0.5 --output $(RUNS)

lint: $(VENV)/installed-dev  ## check style and types
	@mkdir -p build/types/netslim_kfp
	@ln -sfn ../../../components build/types/netslim_kfp/components
	@ln -sfn ../../../pipelines build/types/netslim_kfp/pipelines
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lint-tests: lint  ## check the types of tests and benchmarks, too
	$(BIN)/mypy --config-file tests/mypy.ini

format: $(VENV)/installed-dev  ## format the code; run it before you commit
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

readmes: $(VENV)/installed-dev  ## write the components' READMEs from their signatures
	$(BIN)/python -m netslim_kfp.components.readme

schema: $(VENV)/installed-dev  ## write the JSON schema of config files, docs/run-config.schema.json
	@mkdir -p build
	$(BIN)/netslim run --config-schema > build/run-config.schema.json
	mv build/run-config.schema.json docs/

api: $(VENV)/installed-dev  ## write docs/api.md from the public names and their docstrings
	$(BIN)/python -m docs.api

ifdef ARGS
test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "$(USUAL)" $(ARGS)
else
test: lint lint-tests  ## check style and types, then run all but the long tests; ARGS=tests/x.py runs only that
	$(PARALLEL) --durations=25 -m "$(USUAL)"
endif

test-faults: $(VENV)/installed-dev  ## kill runs and damage their files: what docs/reliability.md promises
	$(PARALLEL) -m faults tests/faults

test-quick: $(VENV)/installed-dev  ## run the unit tests that are fast, in parallel
	$(PARALLEL) -m "not slow and $(USUAL)" $(ARGS)

coverage: $(VENV)/installed-dev  ## run what `make test` runs, and report the lines that no test reaches
	$(PARALLEL) -m "$(USUAL)" --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

test-zoo: $(VENV)/installed-dev  ## prune every torchvision classifier with BatchNorm; writes docs/zoo.md (long)
	NETSLIM_ZOO_TABLE=docs/zoo.md $(BIN)/python -m pytest -m "zoo or not zoo" tests/netslim/test_zoo.py

test-collections: $(VENV)/installed-dev  ## prune a network of every family of timm with BatchNorm; writes docs/collections.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[collections]'
	NETSLIM_COLLECTIONS_TABLE=docs/collections.md $(BIN)/python -m pytest -m collections tests/collections $(ARGS)

test-browser: $(VENV)/installed-dev chromium  ## open the report in a real browser, desktop and phone
	$(BIN)/python -m pytest -m browser tests/browser

bench: $(VENV)/installed-dev  ## measure time and memory of pruning, beside Torch-Pruning
	$(BIN)/python -m benchmarks.engine

bench-gpu-smoke: $(VENV)/installed-dev  ## try benchmarks/gpu.sh on a CPU, in about a minute
	PYTHON=$(abspath $(BIN))/python benchmarks/gpu.sh --smoke --output build/gpu-smoke

images: $(VENV)/installed  ## build the steps' container images; BASE=image@digest, VARIANT=cpu, PIP_CONF=file
	$(BIN)/python images/build.py $(if $(BASE),--base $(BASE)) $(if $(VARIANT),--variant $(VARIANT)) \
		$(if $(PIP_CONF),--pip-conf $(PIP_CONF))

images-offline: $(VENV)/installed  ## the same without an image registry, from Debian packages and this machine's pip
	$(BIN)/python images/build.py --base "$${BASE:-$$(images/base.sh)}" --host-wheels

lock: $(VENV)/installed  ## lock what the images install, from pyproject.toml and constraints.txt; VARIANT=cpu
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	PATH=$(BIN):$$PATH $(BIN)/python images/lock.py $(if $(VARIANT),--variant $(VARIANT))

e2e-docker: $(VENV)/installed-dev  ## run the whole pipeline in containers; starts a container engine if none runs
	images/e2e.sh $(BIN)/python

manifests: $(VENV)/installed-dev  ## render the manifests into build/, and check them against schemas and policy
	@mkdir -p build/manifests
	@for overlay in local gpu-cluster; do \
		kubectl kustomize manifests/overlays/$$overlay > build/manifests/$$overlay.yaml || exit 1; \
	done
	$(BIN)/python -m pytest -m cluster tests/manifests

e2e-cluster: $(VENV)/installed-dev postgresql  ## run the manifests' tracking server on PostgreSQL and an S3 API
	$(BIN)/python -m pytest -m cluster tests/e2e/test_tracking_server.py

e2e-kind: $(VENV)/installed-dev  ## run it all on Kubeflow Pipelines, in a cluster made with kind (long)
	tests/e2e/kind.sh $(BIN)/python

chromium:  # needed by test-browser
	@command -v chromium > /dev/null || images/apt.sh chromium

postgresql:  # needed by e2e-cluster
	@command -v initdb > /dev/null || ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || images/apt.sh postgresql

release: $(VENV)/installed-dev  ## build the wheel and the source archive into dist/, and check what is released
	$(BIN)/python .ci/release.py
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

clean:  ## remove what was made here, but neither .venv nor the results of runs
	rm -rf build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

distclean: clean  ## remove .venv, too; netslim-runs/ is yours and stays
	rm -rf $(VENV)
