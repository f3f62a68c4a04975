# Longview: `make help` lists the targets. Needs Linux x86-64, Python 3.11 to 3.13 and a Python package index.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
LONGVIEW_CACHE ?= $(HOME)/.cache/longview
STUDY ?=
PATIENT ?=
OPTIONS ?=
TARGET ?=
export PYTHON LONGVIEW_CACHE STUDY PATIENT TARGET
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
READY := test -x $(BIN)/longview || { echo "make $@: nothing is set up here: run 'make setup' first." >&2; exit 1; }
PARALLEL := -n 4 --dist loadgroup
EMBEDDED := not long and not real and not browser and not gpu and not bench

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 14

.PHONY: setup
setup: ## create the environment from requirements.lock (done once, and again when it changes); PYTHON=program
	@scripts/setup.sh "$$PYTHON"

.PHONY: demo
demo: setup ## one study through every part; STUDY=folder PATIENT=bundle.json for your own files
	@exec $(BIN)/longview demo $${STUDY:+--study "$$STUDY"} $${PATIENT:+--patient "$$PATIENT"}

.PHONY: up
up: setup ## start every part and leave it running
	@exec $(BIN)/longview up

.PHONY: down
down: ## stop every part
	@$(READY); exec $(BIN)/longview down

.PHONY: status
status: ## what is running
	@$(READY); exec $(BIN)/longview status

.PHONY: check
check: setup ## ruff, mypy --strict, import rules and the unit tests, side by side: after each change (about 2 minutes)
	@exec $(PYTHON) scripts/tiers.py check

.PHONY: test
test: setup ## unit, contract and integration tests on the embedded parts (about 10 minutes)
	@exec $(BIN)/pytest tests/unit tests/contract tests/integration -m "$(EMBEDDED)" $(PARALLEL) $(OPTIONS)

.PHONY: test-long
test-long: setup ## what takes minutes: the drill, releases side by side, quantized checkpoints, the other model families, a hundred attacks in pixels, every synthetic patient (about 8 minutes)
	@exec $(BIN)/pytest tests/integration --ignore tests/integration/faults -m long -n 2 --dist loadgroup $(OPTIONS)

.PHONY: test-faults
test-faults: setup ## 1,000 events of 50 patients while processes are killed, FHIR fails 30 % of the calls and events come twice; 2,000 records, 100 of them poison (about 9 minutes)
	@export LONGVIEW_TEST_EVENTS=1000 LONGVIEW_TEST_PATIENTS=50 LONGVIEW_TEST_KILLS=3 LONGVIEW_TEST_RATE=8; \
	exec $(BIN)/pytest tests/integration/faults -s $(OPTIONS)

.PHONY: test-fuzz
test-fuzz: setup ## 2,000 malformed volumes, pictures, media URLs and requests against the model server (about 5 minutes)
	@export LONGVIEW_TEST_FUZZ=2000; \
	exec $(BIN)/pytest tests/integration/test_model_serving.py -s $(OPTIONS)

.PHONY: drill
drill: setup ## lose database, object store and Temporal on purpose, restore, reconcile, count (about 6 minutes); OPTIONS="--studies 30"
	@exec $(BIN)/longview drill $(OPTIONS)

.PHONY: lint
lint: setup ## ruff, mypy --strict, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: mutation
mutation: setup ## changes of the pure packages that no unit test notices; OPTIONS="--sample 300 --seed 1 --tests-of REV" (about an hour)
	@exec $(BIN)/python scripts/mutation.py $(OPTIONS)

.PHONY: audit
audit: setup ## licences of all locked packages; their known weaknesses, where PyPI answers
	@exec $(BIN)/python scripts/check_dependencies.py

.PHONY: real-parts
real-parts: setup ## fetch Apache Kafka, HAPI FHIR, HL7's validator, Orthanc and Chromium into the cache
	@scripts/real_parts.sh
	@scripts/prometheus.sh

.PHONY: test-real
test-real: setup ## contract suites, one whole journey and a day under faults against the real parts
	@exec $(BIN)/python -m tests.real $(OPTIONS)

.PHONY: test-browser
test-browser: setup ## the inbox in headless Chromium
	@exec $(BIN)/pytest tests/browser $(OPTIONS)

.PHONY: cluster
cluster: setup ## a Kubernetes control plane without containers, as processes on loopback (the first build takes 10 to 20 minutes)
	@scripts/cluster/build.sh
	@exec $(BIN)/python -m scripts.cluster up

.PHONY: cluster-down
cluster-down: ## stop it
	@$(READY); exec $(BIN)/python -m scripts.cluster down

.PHONY: test-helm
test-helm: setup ## the chart on a real API server: every profile installed, upgraded, rolled back and removed; its processes with their own settings
	@scripts/cluster/build.sh || { status=$$?; test $$status = 2 && echo "cannot be had: cluster: its tests skip"; }; \
	exec $(BIN)/pytest tests/helm $(OPTIONS)

.PHONY: bench
bench: setup ## every benchmark, as ratios
	@exec $(BIN)/longview bench --all

.PHONY: test-bench
test-bench: setup ## the speeds that are promised, as tests (CI only reports them: a busy machine fails them)
	@exec $(BIN)/pytest tests/bench -m bench $(OPTIONS)

.PHONY: lock
lock: setup ## renew requirements.lock and the images' locks where pyproject.toml asks for it; OPTIONS=--upgrade for the newest of everything
	@scripts/lock.sh $(OPTIONS)

.PHONY: lock-gpu
lock-gpu: setup ## the same for requirements.gpu.lock, the model server's environment on a GPU
	@scripts/lock.sh --gpu $(OPTIONS)

.PHONY: lock-gpu-check
lock-gpu-check: setup ## requirements.gpu.lock must resolve as it stands; nothing is installed
	@scripts/lock.sh --gpu --check

.PHONY: images
images: setup ## build the images with docker, podman or buildah; TARGET="services trial cpu gpu"
	@exec $(BIN)/python -m scripts.images build $${TARGET:-services cpu gpu}

.PHONY: images-replay
images-replay: setup ## where none of them is: do the steps of the Dockerfiles in clean folders (root, Debian 12); TARGET=cpu
	@exec $(BIN)/python -m scripts.images replay $${TARGET:-services trial}

.PHONY: images-check
images-check: setup ## hadolint, then the services' images replayed and run as user 10001 on a read-only root (about 3 minutes)
	@$(BIN)/python -m scripts.images check
	@exec $(BIN)/pytest tests/images -m images $(OPTIONS)

.PHONY: clean
clean: ## stop everything, remove the environment and the state (not the cache)
	@if [ -x $(BIN)/longview ]; then $(BIN)/longview down; fi
	@if [ -d .longview-cluster ] && [ -x $(BIN)/python ]; then $(BIN)/python -m scripts.cluster down; fi
	@rm -rf .venv .tools .longview .longview-cluster build dist
