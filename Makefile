# Two commands do everything, set-up included: `make demo` and `make test`.
# Another package index:      make demo PIP_INDEX_URL=https://pypi.tuna.tsinghua.edu.cn/simple
# torch for the CPU on Linux: make demo PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format bench bench-main bench-decision bench-profile bench-quote bench-prompting bench-retrieval bench-tuning bench-regret bench-prove clean

demo: .venv/ready
	$(BIN)/advisor fetch
	$(BIN)/advisor demo

test: .venv/ready-dev
	$(BIN)/advisor fetch
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-main bench-decision bench-profile bench-quote bench-prompting bench-retrieval bench-tuning bench-prove

bench-main: .venv/ready-dev
	$(BIN)/advisor fetch
	$(BIN)/python -m tests.benchmarks.bench_main

bench-decision bench-profile bench-quote bench-prove: bench-%: .venv/ready-dev
	$(BIN)/advisor fetch
	$(BIN)/python -m tests.benchmarks.bench_$*

# The peer of the prompting figures wants an older huggingface-hub than transformers 5: it lives beside the environment.
bench-prompting: .venv/ready-dev
	$(BIN)/advisor fetch
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --upgrade \
	  --target tests/benchmarks/out/peers langchain-huggingface==1.2.3
	$(BIN)/python -m tests.benchmarks.bench_prompting

# txtai is measured beside ours, with our torch, transformers and faiss: it lives beside the environment, too.
bench-retrieval: .venv/ready-dev
	$(BIN)/advisor fetch
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --upgrade \
	  --target tests/benchmarks/out/peers-retrieval txtai==9.14.0 msgpack==1.2.4
	$(BIN)/python -m tests.benchmarks.bench_retrieval

# TRL is measured beside ours, with the same torch and transformers: in an environment of its own.
bench-tuning: .venv/ready-dev
	$(BIN)/advisor fetch
	$(PYTHON) -m venv tests/benchmarks/out/peers-tuning
	tests/benchmarks/out/peers-tuning/bin/python -m pip install --disable-pip-version-check --quiet \
	  -c constraints.txt trl==1.16.0 peft
	$(BIN)/python -m tests.benchmarks.bench_tuning

# Hours: every method to the end on every data set. It is no part of `bench`, and goes on where it was broken off.
bench-regret: .venv/ready-dev
	$(BIN)/advisor fetch
	$(BIN)/python -m tests.benchmarks.bench_regret

clean:
	rm -rf .venv runs tests/benchmarks/out

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and was not found"; exit 1; }
	@echo "Installing into .venv: about 1.5 minutes, plus the download of some 600 MB where it is not cached."
	$(PYTHON) -m venv .venv
	$(INSTALL) -e .
	@touch $@

.venv/ready-dev: .venv/ready
	@echo "Installing the tools of the tests: about 20 seconds."
	$(INSTALL) -e ".[dev]"
	@touch $@
