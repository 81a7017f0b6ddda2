# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CARGO_FLAGS ?= --release

.PHONY: digits test install install-test rust-test python-test docs-test lint types bench bench-kernels bench-rivals clean

digits: install  ## Train a network on handwritten digits.
	$(BIN)/python examples/digits.py

test: install-test lint types rust-test python-test  ## Build everything and check everything.

$(BIN)/maturin:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "maturin>=1.9,<2"

install: $(BIN)/maturin
	$(BIN)/pip install --quiet --disable-pip-version-check "numpy>=2.1" "scikit-learn>=1.5" "matplotlib>=3.9"
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --quiet

install-test: $(BIN)/maturin
	$(BIN)/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --quiet

# One test at a time: some force the instruction set or the number of threads of the whole process.
rust-test:
	cargo test $(CARGO_FLAGS) --package luxon -- --test-threads 1

python-test:
	$(BIN)/python -m pytest -q -n 2 --dist loadfile
	$(BIN)/python -m pytest -q --doctest-modules python/luxon

lint:
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	cargo clippy $(CARGO_FLAGS) --package luxon --no-default-features -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy
	cd $(VENV) && bin/python -m mypy.stubtest luxon._core --allowlist ../tests/stubtest_allowlist.txt

# PEER_PYTHON: a Python with JAX and PyTorch, where the one in .venv (which has JAX) is not enough.
PEER_PYTHON ?= $(BIN)/python

bench: install-test  ## Compare with other libraries: prints the table, writes output/bench.json and .png.
	$(BIN)/python benches/compare.py --peer-python $(PEER_PYTHON)
	$(BIN)/python benches/compare.py --memory --peer-python $(PEER_PYTHON)
	$(BIN)/python benches/footprint.py --peer-python $(PEER_PYTHON)

bench-kernels:  ## Measure the kernels from Rust, beside other crates.
	cargo bench --package luxon-benches

bench-rivals: digits  ## One network in luxon, candle and burn; compiles for a long time.
	$(BIN)/python benches/rivals/compare.py output/digits.safetensors --small

clean:
	rm -rf target benches/rivals/target $(VENV)
