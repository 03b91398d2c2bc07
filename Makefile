# `make help` lists the targets. Each one makes its own .venv and installs what it needs.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
# The wheel must stay below this.
WHEEL_BYTES := 4000000
RUST_SOURCES := $(shell find rust -path '*/tests' -prune -o -path rust/datafusion -prune -o -path rust/zerobus -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print) Cargo.toml Cargo.lock
DATAFUSION_SOURCES := $(shell find rust/datafusion -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -name 'Cargo.*' -o -name pyproject.toml)
# A workspace of its own: nothing else waits for the crates of DataFusion.
DATAFUSION := --manifest-path rust/datafusion/Cargo.toml --target-dir target/datafusion
# In the workspace, and a wheel of its own: the main one has no room for it.
ZEROBUS_SOURCES := $(shell find rust/zerobus rust/kernel/src rust/decode/src rust/local/src rust/python/src -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -name Cargo.toml -o -name pyproject.toml) Cargo.toml Cargo.lock
ZEROBUS := --manifest-path rust/zerobus/python/Cargo.toml
PYTHON_SOURCES := $(shell find python -name '*.py' -o -name '*.pyi' -o -name py.typed) pyproject.toml

.PHONY: help demo test test-rust test-python check check-rust check-python bench bench-rows wheel develop format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/wheel ## build the wheel, start the local warehouse, run a real query over real data
	$(BIN)/python examples/demo.py

test: test-rust test-python ## run every test: Rust, Python, official clients

test-rust: ## run the Rust tests
	cargo test --workspace --exclude seakernel-benches
	cargo test --manifest-path rust/zerobus/interop/Cargo.toml --target-dir target/zerobus-interop

test-python: $(VENV)/wheel $(VENV)/datafusion $(VENV)/zerobus .venv-mitmproxy/done .venv-engines/wheel chromium adbc ## run the Python tests against the installed wheel
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --forked tests/fork
	.venv-engines/bin/python -m pytest tests/engines

.PHONY: adbc
adbc: target/release/libseakernel_adbc.so ## build the ADBC driver for hosts that are not Python

target/release/libseakernel_adbc.so: $(RUST_SOURCES)
	cargo build --release -p seakernel-adbc
	touch $@

.PHONY: bench-adbc
bench-adbc: $(VENV)/wheel ## ADBC beside databricks-sql-connector and our own cursor; BENCH=--save keeps the figures
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python benches/peers/adbc.py $(BENCH)

.PHONY: chromium
chromium: ## install Chromium and its driver by apt where they are missing, for the tests that sign in with a browser
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		as_root="$$(test "$$(id -u)" = 0 || echo sudo)"; \
		$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends chromium chromium-driver; \
	}

check: check-rust check-python docs ## formats, lints, docs, types, stubs, crate boundaries

check-rust: ## check the Rust side
	cargo fmt --all --check
	cargo fmt --manifest-path rust/datafusion/Cargo.toml --check
	cargo fmt --manifest-path rust/zerobus/interop/Cargo.toml --check
	cargo fmt --manifest-path benches/peers/zerobus_peers/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy $(DATAFUSION) --all-targets -- -D warnings
	cargo clippy -p seakernel-zerobus --no-default-features --all-targets -- -D warnings
	$(foreach crate,seakernel seakernel-zerobus seakernel-zerobus-local,\
		cargo rustc --quiet -p $(crate) --lib -- --cfg fuzzing --emit=metadata &&) true
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --quiet
	RUSTDOCFLAGS=-Dwarnings cargo doc $(DATAFUSION) --no-deps --quiet
	! cargo tree -p seakernel -e normal --prefix none | grep -E '^(pyo3|adbc|datafusion|seakernel-local)'

check-python: $(VENV)/wheel $(VENV)/datafusion $(VENV)/zerobus ## check the Python side
	$(BIN)/ruff format --check python rust tests benches examples
	$(BIN)/ruff check python rust tests benches examples
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest seakernel._seakernel --mypy-config-file pyproject.toml
	$(BIN)/python -m mypy.stubtest seakernel_datafusion --mypy-config-file pyproject.toml
	$(BIN)/python -m mypy.stubtest seakernel_zerobus --mypy-config-file pyproject.toml

.PHONY: docs
docs: $(VENV)/tools ## build the pages of docs/ and the API's into target/site
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/zensical build --strict --config-file mkdocs.yml

.PHONY: simulate
SEEDS ?= 100000
simulate: ## run SEEDS fault schedules (100000) from SIMULATION_FIRST (0); a failure names its seed
	SIMULATION_SEEDS=$(SEEDS) cargo test --release -p seakernel --lib simulation::every -- --nocapture

.PHONY: fuzz
SECONDS ?= 60
FUZZ_TARGETS ?= body answer links acknowledgement descriptor
FUZZ_OPTIONS_body := -max_len=16384
FUZZ_OPTIONS_answer := -dict=rust/fuzz/answer.dict
# Their seeds are small, and what nests is not.
FUZZ_OPTIONS_acknowledgement := -len_control=0 -max_len=1024
FUZZ_OPTIONS_descriptor := -len_control=0 -max_len=1024
# cargo-fuzz wants flags of the nightly compiler; this variable lets the stable one take them. Dependencies are built as
# they are released: a wrapped sum in them must not get past our checks.
FUZZ := RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir rust/fuzz --release
fuzz: ## run each fuzz target for SECONDS (60); a finding is kept in rust/fuzz/artifacts
	command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --version $(CARGO_FUZZ_VERSION)
	FUZZ_CORPUS=$(CURDIR)/rust/fuzz/corpus/body cargo test -p seakernel --test it bodies::
	$(foreach target,$(FUZZ_TARGETS),mkdir -p rust/fuzz/{corpus,seeds}/$(target) && \
		$(FUZZ) $(target) rust/fuzz/{corpus,seeds}/$(target) -- -max_total_time=$(SECONDS) -rss_limit_mb=2048 \
			-timeout=10 -print_final_stats=1 $(FUZZ_OPTIONS_$(target)) &&) true

.PHONY: deny
deny: ## install cargo-deny and check licences, sources and duplicates
	command -v cargo-deny >/dev/null || cargo install cargo-deny --locked --version $(CARGO_DENY_VERSION)
	cargo deny check bans licenses sources
	cargo deny --manifest-path rust/datafusion/Cargo.toml --config deny.toml check bans licenses sources

.PHONY: soak
soak: $(VENV)/wheel ## run 10,000 queries over 64 threads, and 50 interrupts of each kind of call
	SOAK_QUERIES=10000 INTERRUPTS=50 $(BIN)/python -m pytest tests/soak

bench: $(VENV)/wheel ## decode (criterion), the modes of a hand-off, fetch and ingestion beside the peers; BENCH=--save keeps all but the first
	$(BIN)/python -m pip install --quiet --group bench
	cargo bench -p seakernel-benches
	$(BIN)/python benches/peers/hand_off.py $(filter --save,$(BENCH))
	$(BIN)/python benches/peers/fetch.py $(BENCH)
	$(if $(filter-out --save,$(BENCH)),,$(MAKE) bench-zerobus)

bench-rows: $(VENV)/wheel ## a million rows as Python objects beside databricks-sql-connector; BENCH=--save keeps them
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python benches/peers/rows.py $(BENCH)

.PHONY: bench-zerobus
bench-zerobus: $(VENV)/wheel wheel-zerobus ## ingestion by Zerobus beside the official clients; BENCH=--save keeps the figures
	rm -f $(VENV)/zerobus
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/zerobus/*.whl
	cargo build --release -p seakernel-zerobus-local
	cargo build --release --manifest-path benches/peers/zerobus_peers/Cargo.toml --target-dir target/zerobus-peers
	$(BIN)/python benches/peers/ingestion.py $(BENCH)

# In an environment of its own: it pins much that others need in other versions. Tests of proxies run it.
.venv-mitmproxy/done: Makefile
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet 'mitmproxy>=11,<13'
	touch $@

# In an environment of their own: they are large, and what they need holds back others.
.venv-engines/done: pyproject.toml
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --group engines
	touch $@

.venv-engines/wheel: .venv-engines/done dist/.built
	$(@D)/bin/python -m pip install --quiet --force-reinstall --no-deps dist/seakernel-*.whl
	$(@D)/bin/python -m pip install --quiet "$$(echo dist/seakernel-*.whl)[local]"
	touch $@

wheel: dist/.built ## build the wheel into dist/

.PHONY: wheel-datafusion
wheel-datafusion: $(VENV)/tools ## build the optional wheel for DataFusion into dist/datafusion/, which takes long
	$(BIN)/maturin build $(DATAFUSION) --release --out dist/datafusion

.PHONY: wheel-zerobus
wheel-zerobus: $(VENV)/tools ## build the optional wheel for Zerobus into dist/zerobus/
	$(BIN)/maturin build $(ZEROBUS) --release --out dist/zerobus

develop: $(VENV)/tools ## build the extension unoptimised into .venv, for the edit-test loop
	rm -f $(VENV)/wheel
	$(BIN)/pip install --quiet 'duckdb>=2.0,<3'
	. $(BIN)/activate && maturin develop

format: $(VENV)/tools ## format Rust and Python
	cargo fmt --all
	cargo fmt --manifest-path rust/datafusion/Cargo.toml
	cargo fmt --manifest-path rust/zerobus/interop/Cargo.toml
	cargo fmt --manifest-path benches/peers/zerobus_peers/Cargo.toml
	$(BIN)/ruff format python rust tests benches examples
	$(BIN)/ruff check --fix python rust tests benches examples

clean: ## remove what the targets made
	rm -rf $(VENV) .venv-mitmproxy .venv-engines dist target

$(VENV)/tools: pyproject.toml
	@command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup (https://rustup.rs)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet 'maturin>=1.16,<2' --group test --group check
	touch $@

dist/.built: $(RUST_SOURCES) $(PYTHON_SOURCES) README.md | $(VENV)/tools
	rm -rf dist
	$(BIN)/maturin build --release --compression-level 9 --out dist
	@bytes=$$(($$(wc -c < dist/seakernel-*.whl))); test $$bytes -lt $(WHEEL_BYTES) || { \
		echo "the wheel has $$bytes bytes and must have less than $(WHEEL_BYTES): see [profile.release] in Cargo.toml"; \
		exit 1; \
	}
	touch $@

$(VENV)/wheel: dist/.built $(VENV)/tools
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/seakernel-*.whl
	$(BIN)/python -m pip install --quiet "$$(echo dist/seakernel-*.whl)[local,samples]"
	touch $@

# Unoptimised, which is built in a fraction of the time: plans are made in it, rows only pass.
$(VENV)/datafusion: $(DATAFUSION_SOURCES) | $(VENV)/wheel
	rm -rf target/datafusion/wheels
	$(BIN)/maturin build $(DATAFUSION) --out target/datafusion/wheels
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps target/datafusion/wheels/*.whl
	touch $@

# Unoptimised, too: `make wheel-zerobus` builds the one to measure.
$(VENV)/zerobus: $(ZEROBUS_SOURCES) | $(VENV)/wheel
	rm -rf target/zerobus-wheel
	$(BIN)/maturin build $(ZEROBUS) --out target/zerobus-wheel
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps target/zerobus-wheel/*.whl
	touch $@
