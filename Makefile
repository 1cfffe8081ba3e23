# Everything a newcomer or CI calls. `make demo` and `make test` need Python >= 3.10 and make, nothing else prepared.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo rendered matrix test test-slow check format benchmark clean

.venv/runtime: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/dev: .venv/runtime
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

setup: .venv/dev        ## virtual environment with everything for development

demo: .venv/runtime     ## the main job on the shipped base and sample: prints where the report is
	PATH="$(CURDIR)/$(BIN):$$PATH" sh recipes/demo.sh

rendered: .venv/runtime ## larger splits of the worlds, which the matrix needs: tens of minutes on 2 cores
	$(BIN)/pip install --quiet --editable '.[worlds]'
	PATH="$(CURDIR)/$(BIN):$$PATH" sh recipes/render.sh

matrix: rendered        ## all tasks on both bases, three seeds: hours on a laptop; rewrites results/ and README's table
	$(BIN)/worldtune matrix --samples rendered --out matrix --results results
	$(BIN)/python -m recipes.table
	$(BIN)/python -m recipes.gallery matrix

test: .venv/dev         ## all tests, at most 15 minutes on 2 cores
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: .venv/dev    ## tests that start processes or compile: minutes, the latter need a C++ compiler
	WORLDTUNE_SLOW=1 $(BIN)/python -m pytest tests/training/test_parallel.py tests/networks

check: .venv/dev        ## lint, types, import walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: .venv/dev    ## training step against diffusers, in one run
	$(BIN)/python -m benchmarks.training_step

clean:
	rm -rf .venv demo
