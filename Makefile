# Two commands: `make run` and `make test`. Everything they need beyond a compiler is set up in .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LLAMA := $(shell sed -n 's/^llama-cpp-python==\([^ ]*\).*/\1/p' requirements.lock)
PEERS := benchmarks/build/llama.cpp-$(LLAMA)

help:  ## this text
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# name of the program, what to say, and the Debian package that brings it
need = @command -v $(1) >/dev/null || { echo "$(1) is missing: $(2)" >&2; exit 1; }

check:
	$(call need,$(PYTHON),apt-get install python3 python3-venv)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is missing: apt-get install python3.11 python3.11-venv, then make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(call need,cc,apt-get install gcc)
	$(call need,c++,apt-get install g++)
	$(call need,bwrap,apt-get install bubblewrap)

$(STAMP): requirements.lock pyproject.toml | check
	$(PYTHON) -m venv $(VENV)
	@echo "Installing (llama.cpp is compiled once: some minutes)"
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

run: $(STAMP)  ## set up, then serve the built-in model on 127.0.0.1:6380
	@$(BIN)/agentkernel serve --models models --workspace workspace --state state --hints

test: $(STAMP)  ## set up, then lint, check types and run every test
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/pytest

crash: $(STAMP)  ## kill the kernel at 200 moments (moments=N; report=1 writes reports/recovery.md)
	$(BIN)/python -m tests.crash $(or $(moments),200) $(if $(report),report)

bench: bench-peers $(VENV)/.bench-installed  ## measure (only=NAME for one); reports go to reports/
	$(BIN)/python -m benchmarks $(only)

bench-profile: $(VENV)/.bench-installed  ## flame graphs of kernel and engine go to reports/
	$(BIN)/python -m benchmarks.profile

bench-compare: $(VENV)/.bench-installed  ## what changed between two reports, A=… B=… (files or commits)
	@$(BIN)/python -m benchmarks.compare $(A) $(B)

bench-changes: $(VENV)/.bench-installed  ## what commits have saved the kernel's process, work=churn commits='A B'
	$(BIN)/python -m benchmarks.changes $(work) $(commits)

bench-peers: $(PEERS)/bin/llama-server  ## set up what it is measured against: llama-server, a Python server

# the library's archive holds llama.cpp's whole source; build settings are those that the library got
$(PEERS)/bin/llama-server: | $(VENV)/.bench-installed
	@echo "Compiling llama-server (once: some minutes)"
	mkdir -p $(PEERS)
	sed -n '/^llama-cpp-python==/,/[^\]$$/p' requirements.lock > $(PEERS)/pinned.txt
	$(BIN)/python -m pip download --quiet --no-deps --no-binary llama-cpp-python --require-hashes \
		--requirement $(PEERS)/pinned.txt --dest $(PEERS)
	tar -xzf $(PEERS)/llama_cpp_python-$(LLAMA).tar.gz -C $(PEERS) --strip-components=1
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S $(PEERS)/vendor/llama.cpp -B $(PEERS) -G Ninja --log-level=ERROR \
		-DCMAKE_C_FLAGS=-w -DCMAKE_CXX_FLAGS=-w \
		-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
		-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build $(PEERS) --target llama-server llama-batched-bench -- --quiet

$(VENV)/.bench-installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

model: $(VENV)/.model-installed  ## train the built-in models from nothing (an hour; resumes)
	$(BIN)/python -m models.training make

model-eval: $(STAMP)  ## measure what the built-in models can do (3 minutes)
	$(BIN)/python -m models.training evaluate

$(VENV)/.model-installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[model]'
	touch $@

lock: $(STAMP)  ## write requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --extra dev --output-file requirements.lock pyproject.toml

clean:  ## remove what set-up and tests made
	rm -rf $(VENV) state .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help check run test crash bench bench-changes bench-compare bench-profile bench-peers model model-eval lock clean
