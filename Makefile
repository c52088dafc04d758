# Every target makes .venv when it is missing and installs what it needs into it.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DATA ?= $(or $(TELLSIGN_DATA),../shared/data)
export OMP_NUM_THREADS ?= 2

.PHONY: demo test test-unit test-others check test-slow bench docs default-detector clean

demo: .venv/core
	@mkdir -p out
	$(BIN)/tellsign scan examples
	$(BIN)/tellsign explain examples --output out/demo.html > /dev/null
	@echo "Open out/demo.html: the evidence for each of them."

check: .venv/all
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --doctest-modules src -p no:cacheprovider

# Two halves at once, on a core each: one test alone rarely keeps two busy.
test: .venv/all
	$(MAKE) --jobs=2 --output-sync=target --keep-going test-unit test-others

test-unit test-others: export OMP_NUM_THREADS = 1

test-unit:
	$(BIN)/python -m pytest -m "not slow" --durations=25 tests/unit

test-others:
	$(BIN)/python -m pytest -m "not slow" --durations=25 --ignore=tests/unit

test-slow: .venv/all
	$(BIN)/python -m pytest -m slow --durations=10

bench: .venv/all
	$(BIN)/python -m benchmarks

docs: .venv/all
	$(BIN)/python docs/generate.py

# The detector that ships inside the package, from the data to its card.
default-detector: .venv/all
	DATA="$(DATA)" BIN="$(BIN)" bash configs/default-detector.sh

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/core: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	@touch $@

.venv/all: .venv/core
	$(PIP) --editable '.[train,heic,dev]'
	@touch $@

clean:
	rm -rf .venv out build src/*.egg-info
