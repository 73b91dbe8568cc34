# `make demo` and `make test` do everything on a machine with Python 3.11: environment, install, run.
PYTHON ?= python3.11
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check lint types clean

.venv/.installed: pyproject.toml setup.py constraints.txt $(wildcard inverters/rendering/csrc/*/*)
	@command -v $(PYTHON) >/dev/null || { echo "invid: $(PYTHON) not found; install Python 3.11 or run make PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing (some minutes and 7 GB the first time; compiling for CUDA, where nvcc is, takes longest)"
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.installed
	$(BIN)/process-video samples/mask.mp4 --out out/demo --edit smile=2.5 --remove-occluder --view yaw=0.3

test: .venv/.installed
	$(BIN)/python -m pytest

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf .venv out
