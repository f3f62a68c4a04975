# Longview: `make help` lists the targets. Needs Linux x86-64, Python 3.11 to 3.13 and a Python package index.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
LONGVIEW_CACHE ?= $(HOME)/.cache/longview
export LONGVIEW_CACHE
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: ## create the environment from requirements.lock (done once, and again when it changes)
	@scripts/setup.sh "$(PYTHON)"

.PHONY: demo
demo: setup ## one study through every part; STUDY=folder PATIENT=bundle.json for your own files
	@$(BIN)/longview demo $(if $(STUDY),--study "$(STUDY)") $(if $(PATIENT),--patient "$(PATIENT)")

.PHONY: up
up: setup ## start every part and leave it running
	@$(BIN)/longview up

.PHONY: down
down: ## stop every part
	@$(BIN)/longview down

.PHONY: status
status: ## what is running
	@$(BIN)/longview status

.PHONY: test
test: setup ## unit, contract and integration tests on the embedded parts
	@$(BIN)/pytest tests/unit tests/contract tests/integration -m "not real and not browser and not gpu and not bench"

.PHONY: lint
lint: setup ## ruff, mypy --strict, import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

.PHONY: real-parts
real-parts: setup ## fetch Apache Kafka, HAPI FHIR, HL7's validator, Orthanc and Chromium into the cache
	@scripts/real_parts.sh

.PHONY: test-real
test-real: setup ## contract suites and one whole journey against the real parts
	@$(BIN)/pytest tests/real tests/contract -m "real or not browser"

.PHONY: test-browser
test-browser: setup ## the inbox in headless Chromium
	@$(BIN)/pytest tests/browser

.PHONY: bench
bench: setup ## every benchmark, as ratios
	@$(BIN)/longview bench --all

.PHONY: lock
lock: setup ## renew requirements.lock (no download addresses in it)
	@scripts/lock.sh

.PHONY: clean
clean: ## remove environment and state (not the cache)
	@rm -rf .venv .tools .longview build dist
