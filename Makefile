# Each target makes its own virtual environment first; Python >= 3.10 and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Waiting threads that spin for long slow everything down where cores are shared with loader workers.
export GOMP_SPINCOUNT ?= 10000

.PHONY: demo test lint format bench sanitize clean

$(VENV)/.installed: pyproject.toml constraints.txt $(shell find src/native -type f)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/gridless demo --output demo_output

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Where a rival cannot be installed, the tables say so in its place.
$(VENV)/.bench_installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]" || true
	touch $@

# All cases, or make bench CASES="name name"; threads wait as they do for anybody who imports the package.
bench: $(VENV)/.bench_installed
	env -u GOMP_SPINCOUNT $(BIN)/python -m benchmarks $(CASES)

# The compiled kernels against plain loops, watched for races and for reads and writes out of bounds.
sanitize:
	for sanitizer in thread address; do \
	  cmake -S src/native -B build/$$sanitizer -DGRIDLESS_TESTS=ON -DGRIDLESS_SANITIZE=$$sanitizer && \
	  cmake --build build/$$sanitizer --parallel 2 && \
	  build/$$sanitizer/pair_loop_test && build/$$sanitizer/points_test || exit 1; \
	done

clean:
	rm -rf $(VENV) demo_output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
