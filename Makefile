# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench setup clean

demo: $(READY)  ## train on handwritten digits, live on a web page
	$(BIN)/python examples/digits.py

test: $(READY)  ## all tests
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 30 --durations-min 5

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHON=$(BIN)/python sh .ci/types

bench: $(READY)  ## the tables in benchmarks/README.md
	$(BIN)/python benchmarks/publish.py
	$(BIN)/python benchmarks/stall.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/swap.py
	$(BIN)/python benchmarks/swaps.py
	$(BIN)/python benchmarks/fairness.py
	$(BIN)/python benchmarks/overload.py
	$(BIN)/python benchmarks/peers.py measure
	$(BIN)/python benchmarks/peers.py update
	$(BIN)/python benchmarks/peers.py table

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[cpu,export,dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info runs
