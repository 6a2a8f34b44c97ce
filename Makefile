# Targets: setup, sweep, study, results, findings, evaluate, ask, report, calibrate, test, test-unit, test-integration, test-parity, test-system, test-faults, nightly, lint, ui, pins, check-environment, clean; setup-vllm, test-vllm (vLLM has its own environment).
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
# make sweep's short form of the granularity study: three seeds of its ten
SHORT := $(if $(findstring --small,$(ARGS)),,$(if $(filter ablations/granularity.yaml,$(SWEEP)),seeds=3))
TARGET ?= tiny
Q ?= What is the capital of Chad?
PORT ?= 5000
STORE ?= sqlite:///runs/mlflow.db
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.made
VLLM := .venv-vllm
# One test process a core, at most eight; JOBS=0 runs the tests in one process (for a debugger, or -s).
JOBS ?= $(shell n=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((n < 8 ? n : 8)))
PYTEST := $(RUN) -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder

.PHONY: setup sweep study results findings evaluate ask report calibrate test test-unit test-integration test-parity test-system test-faults nightly lint ui pins check-environment clean setup-vllm test-vllm

setup: $(STAMP)

$(STAMP): constraints.txt pyproject.toml .ci/setup
	TORCH=$(TORCH) PYTHON=$(PYTHON) .ci/setup $(VENV)
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
	$(PYTEST) $(ARGS)

test-unit test-integration test-parity test-system: test-%: setup
	$(PYTEST) tests/$* $(ARGS)

test-faults: setup
	$(RUN) -m tests.system.faults.battery $(ARGS)

# What takes too long for every change: the whole fault battery, every study's small form, the long checks by fuzzing
# and measurement, the installation of environment.yml, the tests marked nightly, and all examples of the properties.
nightly: setup
	$(RUN) -m pytest --hypothesis-profile thorough -m 'nightly or hypothesis' $(ARGS)
	$(RUN) -m tests.system.faults.battery
	$(RUN) -m tests.benchmarks.fuzz
	$(RUN) -m tests.benchmarks.chaos
	$(RUN) -m tests.benchmarks.memory_plan
	$(MAKE) check-environment
	for study in $$(grep -l '^profile: tiny' ablations/*.yaml); do $(RUN) -m harness.sweep $$study --small --out $(STUDIES)/small || exit 1; done

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports --no-cache --no-logo

setup-vllm: $(VLLM)/.made

$(VLLM)/.made: constraints.txt constraints-vllm.txt constraints-vllm-cuda.txt pyproject.toml .ci/setup
	TORCH=$(TORCH) PYTHON=$(PYTHON) .ci/setup $(VLLM)
	@touch $@

test-vllm: setup-vllm
	$(VLLM)/bin/python -m pytest tests/integration/engines/test_vllm_engine.py tests/integration/policy/test_export_vllm.py $(ARGS)

ui: setup
	@mkdir -p runs
	MLFLOW_DISABLE_TELEMETRY=true $(RUN) -m mlflow server --host 127.0.0.1 --port $(PORT) \
		--backend-store-uri '$(STORE)' --workers 1

pins: setup
	.ci/pins

check-environment:
	PYTHON=$(PYTHON) .ci/check_environment

clean:
	rm -rf $(VENV) $(VLLM) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
