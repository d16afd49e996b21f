# The commands of daily work. `make` alone lists them.
PYTHON ?= python3
LOCK := $(shell cksum requirements.lock | cut -d' ' -f1)
READY := .venv/ready-$(LOCK)
BIN := .venv/bin

.PHONY: help install demo test check faults services bench lock audit clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## create .venv from requirements.lock (large: torch)

# What builds basicsr comes from the lock file too (-b): every package is pinned and hash-checked.
$(READY): requirements.lock pyproject.toml
	@scripts/bootstrap $(PYTHON)
	@echo "Installing into .venv (torch is large: several gigabytes, a minute or more) ..."
	.uv/bin/uv pip sync --python $(BIN)/python --require-hashes -b requirements.lock requirements.lock
	@.uv/bin/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm -f .venv/ready-*
	@touch $@

demo: $(READY)  ## render three segments into demo-output/ (SERVE=1 keeps serving, PRODUCTS=1 also trains two products)
	@$(BIN)/creatives demo $(if $(SERVE),--serve) $(if $(PRODUCTS),--products)

# One test file at a time on each core (-n 0 runs all in one process), and one torch thread for each of them.
test: $(READY)  ## run the plain suite: no GPU, network or Docker
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not services and not slow" $(ARGS)

check: $(READY)  ## check format, lint, types, imports, wording and structure, then run the plain suite
	@scripts/check

services: $(READY)  ## start a real Kafka and a real MinIO on loopback, without Docker
	@scripts/services up --env-file build/services.env

faults: $(READY)  ## play every fault against a real Kafka and MinIO and write docs/faults.md
	@$(BIN)/python -m tests.faults $(ARGS)

bench: $(READY)  ## measure throughput, latency and memory beside bare aiokafka and write docs/throughput.md
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

lock:  ## resolve pyproject.toml into requirements.lock (versions and hashes, no addresses)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra dev pyproject.toml -o requirements.lock

audit: $(READY)  ## write build/sbom.json from requirements.lock, and look its packages up in the OSV database
	@$(BIN)/python scripts/sbom.py build/sbom.json
	@$(BIN)/python scripts/audit.py

clean:  ## remove generated files, except .venv
	rm -rf demo-output build .pytest_cache .mypy_cache .ruff_cache .hypothesis mutants
