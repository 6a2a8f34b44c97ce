# Targets: setup, sweep, study, results, findings, evaluate, ask, report, calibrate, test, test-faults, lint, ui, pins, clean; setup-vllm, test-vllm (vLLM has its own environment).
# `make sweep SWEEP=ablations/other.yaml ARGS="steps=5 seeds=2"`, then `make report DIR=runs/other`.
# A study in full: `make study SWEEP=ablations/other.yaml`, `make results DIR=runs/studies/other`, `make findings`.
# `make ui STORE=sqlite:///runs/studies/mlflow.db` serves another store than that of `make sweep`; a sweep says which at its end.
# `make evaluate TARGET=runs/granularity ARGS="method=[agent,cot]"`; `make ask Q="Which country is Lagos in?"`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= auto
SWEEP ?= ablations/granularity.yaml
DIR ?= runs/granularity
STUDIES ?= runs/studies
ARGS ?=
# make sweep's short form of the granularity study: five seeds of its ten, a quarter of an hour on two cores
SHORT := $(if $(findstring --small,$(ARGS)),,$(if $(filter ablations/granularity.yaml,$(SWEEP)),seeds=5))
TARGET ?= tiny
Q ?= What is the capital of Chad?
PORT ?= 5000
STORE ?= sqlite:///runs/mlflow.db
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.made
VLLM := .venv-vllm

.PHONY: setup sweep study results findings evaluate ask report calibrate test test-faults lint ui pins clean setup-vllm test-vllm

setup: $(STAMP)

$(STAMP): constraints.txt pyproject.toml .ci/setup_env.py
	TORCH=$(TORCH) $(PYTHON) .ci/setup_env.py
	@touch $@

sweep: setup
	$(RUN) -m harness.sweep $(SWEEP) $(SHORT) $(ARGS)

study: setup
	$(RUN) -m harness.sweep $(SWEEP) --out $(STUDIES) $(ARGS)

results: setup
	$(RUN) -m reports.packing $(DIR) $(ARGS)

findings: setup
	$(RUN) -m reports.findings

evaluate: setup
	$(RUN) -m harness.evaluate $(TARGET) $(ARGS)

ask: setup
	@$(RUN) -m harness.ask "$(Q)" $(ARGS)

report: setup
	$(RUN) -m reports.build $(DIR) $(ARGS)

calibrate: setup
	$(RUN) -m analysis.calibration $(ARGS)

test: setup
	$(RUN) -m pytest $(ARGS)

test-faults: setup
	$(RUN) -m tests.system.faults.battery $(ARGS)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports --no-cache --no-logo

setup-vllm: $(VLLM)/.made

$(VLLM)/.made: constraints.txt constraints-vllm.txt constraints-vllm-cuda.txt pyproject.toml .ci/setup_env.py .ci/setup_vllm.py
	TORCH=$(TORCH) $(PYTHON) .ci/setup_vllm.py
	@touch $@

test-vllm: setup-vllm
	$(VLLM)/bin/python -m pytest tests/integration/engines/test_vllm_engine.py tests/integration/policy/test_export_vllm.py $(ARGS)

ui: setup
	@mkdir -p runs
	MLFLOW_DISABLE_TELEMETRY=true $(RUN) -m mlflow server --host 127.0.0.1 --port $(PORT) \
		--backend-store-uri '$(STORE)' --workers 1

pins: setup
	$(RUN) .ci/freeze.py

clean:
	rm -rf $(VENV) $(VLLM) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
