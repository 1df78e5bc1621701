# Everything a developer or user of this repository types. `make help` prints the list.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
# Tests run side by side; each of these processes has an API server of its own where it needs one.
WORKERS ?= 2
PYTEST := $(PY) -m pytest -q -n $(WORKERS)
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/tools
export PYTHONDONTWRITEBYTECODE := 1
# It speaks of what comes after it.
export NO_MKDOCS_2_WARNING := 1
# They would tell their makers of each run.
export RAY_USAGE_STATS_ENABLED := 0
export ORT_DISABLE_TELEMETRY := 1
MERMAID := 11.16.0
IFRAME_WORKER := 1.0.4

.PHONY: help
help: ## Print this list.
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## The main job

.PHONY: demo
demo: venv ## Train, serve, tune and transform, on a cluster that it brings up; UNTIL=train, serve or tune stops there.
	$(PY) tools/demo.py --until $(or $(UNTIL),batch)

.PHONY: test
test: lint test-unit test-contract test-integration test-fault test-e2e ## Run every check and test tier; needs root for the cluster.

## The cluster on this machine

.PHONY: cluster-up cluster-down cluster-status programs images install
cluster-up: python ## Build what is missing and start the embedded Kubernetes cluster.
	python3 cluster/cli.py up

cluster-down: python ## Stop the cluster and remove everything it made but the cache.
	python3 cluster/cli.py down

cluster-status: python ## Show the state of each part of the cluster.
	python3 cluster/cli.py status

programs: python ## Build the programs of the cluster, once; takes about 15 minutes.
	python3 cluster/cli.py programs

images: python ## Build the container images and load them into the running cluster.
	python3 cluster/cli.py images

install: venv ## Install CRDs and operator into the running embedded cluster.
	$(PY) tools/install.py

## Tests

.PHONY: test-unit test-contract test-integration test-fault test-fault-all test-e2e test-e2e-all
test-unit: venv browser ## Pure tests: seconds, no I/O beyond temporary files.
	$(PYTEST) tests/unit

test-contract: venv kserve-venv programs ## Our schemas against a real API server; KServe's clients against our server.
	$(PYTEST) tests/contract

test-integration: venv programs ## The operator against a real API server; KubeRay is played by the tests.
	$(PYTEST) tests/integration

test-fault: venv programs ## Crashes, broken API servers and careless people: the end must be the same.
	$(PYTEST) --durations=15 tests/fault

test-fault-all: venv programs ## The same, killed before and after every write of every life; an hour.
	LOOPWRIGHT_FAULT_SWEEP=all $(PYTEST) tests/fault

test-e2e: venv cluster-up images ## Real training on the whole embedded cluster.
	$(PYTEST) --durations=15 -m "not extended" tests/e2e

test-e2e-all: venv cluster-up images ## All of it: every example, torch's model server, a second gateway.
	$(PYTEST) --durations=15 tests/e2e

## Development

.PHONY: venv kserve-venv evidently-venv audit-venv python browser fuzz sbom audit lint format generate manifests locks bench
venv: .venv/.stamp ## Create the development environment from its lock.

.venv/.stamp: requirements/dev.lock | python
	rm -rf .venv
	python3 -m venv .venv
	.venv/bin/python -m pip install -q --require-hashes -r requirements/dev.lock
	@touch $@

kserve-venv: .venv/kserve/.stamp ## Create the environment of KServe's own clients and server.

.venv/kserve/.stamp: requirements/kserve.lock .venv/.stamp
	rm -rf .venv/kserve
	python3 -m venv .venv/kserve
	.venv/kserve/bin/python -m pip install -q --require-hashes -r requirements/kserve.lock
	@touch $@

evidently-venv: .venv/evidently/.stamp ## Create the environment of what drift is measured beside.

.venv/evidently/.stamp: requirements/evidently.lock .venv/.stamp
	rm -rf .venv/evidently
	python3 -m venv .venv/evidently
	@# The lock is complete; some releases of pip look for the pandas[parquet] that Evidently wants.
	.venv/evidently/bin/python -m pip install -q --no-deps --require-hashes -r requirements/evidently.lock
	@touch $@

.PHONY: docs docs-check
docs: .venv/docs/.stamp build/assets ## Build the documentation into site/, which opens without a network.
	.venv/docs/bin/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

docs-check: .venv/docs/.stamp
	.venv/docs/bin/python -m mkdocs build --strict --quiet --site-dir build/site

.venv/docs/.stamp: requirements/docs.lock .venv/.stamp
	rm -rf .venv/docs
	python3 -m venv .venv/docs
	.venv/docs/bin/python -m pip install -q --require-hashes -r requirements/docs.lock
	@touch $@

# What draws diagrams, and what searches where there is no server. Without npm diagrams are shown as
# their text, and the search works from a server only.
build/assets:
	@mkdir -p $@.new
	@if command -v npm > /dev/null; then \
	  cd $@.new && npm pack --silent mermaid@$(MERMAID) iframe-worker@$(IFRAME_WORKER) > /dev/null && \
	  tar -xzOf mermaid-$(MERMAID).tgz package/dist/mermaid.min.js > mermaid.min.js && \
	  tar -xzOf iframe-worker-$(IFRAME_WORKER).tgz package/shim/index.js > iframe-worker.js && \
	  rm ./*.tgz && sha256sum --check --quiet ../../requirements/docs.assets; \
	else echo "no npm here: diagrams stay text" >&2; fi
	@mv $@.new $@

# A fresh Debian has neither; both come from its own packages.
python:
	@python3 -c 'import ensurepip, sys; assert sys.version_info >= (3, 11)' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "Python 3.11 with venv is needed: apt-get install python3-venv" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv; }

# The test that looks at pages is left out where none can be installed.
browser:
	@command -v chromium chromium-headless-shell google-chrome chrome >/dev/null \
	  || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	       apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core >/dev/null; }

fuzz: venv ## Give each parser of untrusted input N new examples (2000), and count what became of them.
	LOOPWRIGHT_FUZZ=$(or $(N),2000) RUST_BACKTRACE=0 $(PY) -m pytest -q --timeout=7200 tests/unit/fuzz

sbom: venv ## Write build/sbom: what each image is made of, as CycloneDX, from the locks.
	$(PY) tools/sbom.py

audit: audit-venv ## Ask for known vulnerabilities of all locked packages; exit code 3 without network.
	$(PY) tools/dependency_audit.py

audit-venv: .venv/audit/.stamp ## Create the environment of pip-audit.

.venv/audit/.stamp: requirements/audit.lock .venv/.stamp
	rm -rf .venv/audit
	python3 -m venv .venv/audit
	.venv/audit/bin/python -m pip install -q --require-hashes -r requirements/audit.lock
	@touch $@

lint: venv docs-check ## Format, lint, types, layers, documentation, and that generated files are up to date.
	$(PY) -m ruff format --check .
	$(PY) -m ruff check --no-cache .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(MAKE) --no-print-directory generate
	git diff --exit-code -- crds charts deploy docs/reference operator/loopwright/serving/open_inference_pb2.py

format: venv ## Format the code and fix what ruff can.
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

generate: venv ## Write CRDs, their chart, references and dashboards, and compile the gRPC messages.
	$(PY) -m loopwright.api.crdgen
	$(PY) tools/server_reference.py
	$(PY) tools/chart_reference.py
	$(PY) tools/rbac_table.py
	$(PY) tools/dashboards.py
	$(PY) tools/argocd.py
	cd operator && ../$(PY) -m grpc_tools.protoc -I. --python_out=. loopwright/serving/*.proto

manifests: venv programs ## Write deploy/ from the Helm chart, for those who use kubectl alone.
	$(PY) tools/manifests.py

locks: ## Resolve the locked requirements anew.
	requirements/compile.sh

bench: venv kserve-venv evidently-venv ## Measure start latency, throughput, scale and serving against peers.
	$(PY) -m tests.perf
