# Everything a developer or user of this repository types. `make help` prints the list.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/tools
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## Print this list.
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## The main job

.PHONY: demo
demo: venv ## Bring up a cluster, install Loopwright, train a network, show the result.
	$(PY) tools/demo.py

.PHONY: test
test: lint test-unit test-contract test-integration test-e2e ## Run every check and test tier; needs root for the cluster.

## The cluster on this machine

.PHONY: cluster-up cluster-down cluster-status images install
cluster-up: python ## Build what is missing and start the embedded Kubernetes cluster.
	python3 cluster/cli.py up

cluster-down: python ## Stop the cluster and remove everything it made but the cache.
	python3 cluster/cli.py down

cluster-status: python ## Show the state of each part of the cluster.
	python3 cluster/cli.py status

images: python ## Build the container images and load them into the running cluster.
	python3 cluster/cli.py images

install: venv ## Install CRDs and operator into the running embedded cluster.
	$(PY) tools/install.py

## Tests

.PHONY: test-unit test-contract test-integration test-e2e
test-unit: venv ## Pure tests: seconds, no I/O beyond temporary files.
	$(PY) -m pytest -q tests/unit

test-contract: venv ## Our schemas against a real API server.
	$(PY) -m pytest -q tests/contract

test-integration: venv ## The operator against a real API server; KubeRay is played by the tests.
	$(PY) -m pytest -q tests/integration

test-e2e: venv ## Real training on the whole embedded cluster.
	$(PY) -m pytest -q tests/e2e

## Development

.PHONY: venv python lint format generate locks bench
venv: .venv/.stamp ## Create the development environment from its lock.

.venv/.stamp: requirements/dev.lock | python
	rm -rf .venv
	python3 -m venv .venv
	.venv/bin/python -m pip install -q --require-hashes -r requirements/dev.lock
	@touch $@

# A fresh Debian has neither; both come from its own packages.
python:
	@python3 -c 'import ensurepip, sys; assert sys.version_info >= (3, 11)' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "Python 3.11 with venv is needed: apt-get install python3-venv" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv; }

lint: venv ## Format, lint, types, layers, and that generated files are up to date.
	$(PY) -m ruff format --check .
	$(PY) -m ruff check --no-cache .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(MAKE) --no-print-directory generate
	git diff --exit-code -- crds docs/reference

format: venv ## Format the code and fix what ruff can.
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

generate: venv ## Write the CRDs and the field reference from the models.
	$(PY) -m loopwright.api.crdgen

locks: ## Resolve the locked requirements anew.
	requirements/compile.sh

bench: venv ## Measure start latency and throughput against hand-written peers.
	$(PY) -m tests.perf
