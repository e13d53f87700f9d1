# make VARIABLE=value TARGET
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin

IMAGE ?=
BPP ?= 0.1
TRAIN_DATA ?= ../shared/data/train

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help preview test test-arm64 bench model firmware firmware-tools kaitai-tools debian clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

# The picture shown by default comes with scikit-image, which only the extra brings.
preview: $(VENV)/ready-$(if $(IMAGE),ground,bench) ## Compress a picture and show it beside the original (IMAGE=path, BPP=0.1)
	@$(BIN)/python -m benchmarks.preview --bpp $(BPP) $(if $(IMAGE),"$(IMAGE)")

test: $(VENV)/ready-dev ## Check style, types and imports, run the tests, then those of the kernels without the JIT
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -m kernel

test-arm64: $(VENV)/ready-dev ## Run the tests that must not depend on the machine on an emulated 64-bit Arm
	VENV=$(abspath $(VENV)) tests/arm64/run.sh

bench: $(VENV)/ready-bench ## Measure rate-distortion and speed against the peers
	$(BIN)/python -m benchmarks.paper
	$(BIN)/python -m benchmarks.rd
	$(BIN)/python -m benchmarks.colour
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.speed_layers
	$(BIN)/python -m benchmarks.entropy --train "$(TRAIN_DATA)/photo" "$(TRAIN_DATA)/aerial" --parts
	$(BIN)/python -m benchmarks.refinement

model: $(VENV)/ready-dev ## Train a model and all that follows from it (TRAIN_DATA=folder); then name it in onboard/model.py
	$(BIN)/onboard-train fit --images "$(TRAIN_DATA)/photo" "$(TRAIN_DATA)/aerial" --out onboard/models
	for model in onboard/models/*.obm; do \
	    $(BIN)/onboard-train neighbours --images "$(TRAIN_DATA)/photo" "$(TRAIN_DATA)/aerial" --model $$model \
	        --out onboard/ground/models || exit; done
	$(BIN)/python -m tests.make_examples
	$(BIN)/python -m tests.make_vectors

firmware-tools: ## Install the cross compilers, emulators and the checker that firmware_sim needs (as root, Debian)
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends \
	    gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm gcc-riscv64-unknown-elf \
	    picolibc-riscv64-unknown-elf qemu-system-misc cppcheck >/dev/null

kaitai-tools: ## Install the compiler of Kaitai Struct descriptions that a test needs (node and npm, as root on Debian)
	@command -v npm >/dev/null || { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends nodejs npm >/dev/null; }
	@npm install --silent --no-save --no-package-lock --no-audit --no-fund kaitai-struct-compiler@0.11.0 js-yaml@4.1.0

firmware: $(VENV)/ready-core ## Build the C encoder for emulated microcontrollers, compare its packets, report what it takes
	$(BIN)/python -m firmware_sim.measure -o benchmarks/results/firmware.json

debian: ## Install the Debian packages that the other targets need (as root)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends python3-venv >/dev/null; }

clean: ## Remove caches and build outputs; the virtual environment stays
	rm -rf build dist *.egg-info .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find onboard training firmware_sim benchmarks tests -name __pycache__ -prune -exec rm -rf {} +

# ready-core has what the library needs, ready-EXTRA that extra too. The extra train is nobody's prerequisite:
# its torch brings gigabytes of GPU libraries on most machines.
$(VENV)/ready-%: pyproject.toml | $(BIN)/pip
	@echo 'Preparing $(VENV) ($*)'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.$(if $(filter-out core,$*),[$*])'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	    { echo '$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv'; exit 1; } >&2
	@$(PYTHON) -m venv $(VENV)
