# Each target sets up what it needs, on a machine with Python 3.10 or newer (with venv), g++ and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# For the command line or the environment.
PYTHON ?= python3
# The environment that everything is installed into.
VENV ?= .venv
# Passed to every `pip install`: an index, a proxy.
PIP_FLAGS ?=
# The torch to build against and to run with.
TORCH ?= torch==2.13.0
# Two compilers at a time fit into 8 GiB.
JOBS ?= $(shell nproc)
# For `make compare` and `make bench`.
ARGS ?=
# For `make test`: two processes of one thread each are faster than one of two on matrices as small as the tests'.
PYTEST_ARGS ?= --numprocesses 2

BIN := $(VENV)/bin
PY := $(BIN)/python
PIP_INSTALL := $(PY) -m pip --disable-pip-version-check install $(PIP_FLAGS)
STAMPS := $(VENV)/stamps
LINT := build/lint
CXX_SOURCES := $(shell find csrc -name '*.cpp')
CXX_HEADERS := $(shell find csrc -name '*.h')
CXX_TESTS := $(shell find tests/cpp tests/sanitize -name '*.cpp' -o -name '*.h')
TIDY := $(CXX_SOURCES:%.cpp=$(LINT)/%.tidy)

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: compare
compare: build $(STAMPS)/compare ## why gradients of eigh differ between frameworks; ARGS="--quick" for a minute's worth
	$(PY) -m spectralgrad compare $(ARGS)

# One after the other, alone: leave the machine to it. A new benchmark is found by its name.
.PHONY: bench
bench: build $(STAMPS)/compare ## how fast, against torch, TensorFlow, JAX and NumPy; ARGS="--quick" for a minute's worth
	@for benchmark in $(sort $(wildcard benchmarks/bench_*.py)); do $(PY) $$benchmark $(ARGS); done
	$(PY) benchmarks/update_readme.py

.PHONY: test
test: build googletest $(STAMPS)/test $(STAMPS)/clients ## the C++ suite, a program using the installed library, the Python suite
	$(BIN)/cmake -S . -B build -DSPECTRALGRAD_TESTS=ON --log-level=ERROR
	$(BIN)/cmake --build build
	$(BIN)/ctest --test-dir build --output-on-failure --no-tests=error --parallel $(JOBS)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS)

.PHONY: quick
quick: build googletest $(STAMPS)/test ## for every day: the C++ suite and the Python tests that are not marked slow
	$(BIN)/cmake -S . -B build -DSPECTRALGRAD_TESTS=ON --log-level=ERROR
	$(BIN)/cmake --build build --target spectralgrad_tests
	$(BIN)/ctest --test-dir build --output-on-failure --no-tests=error --tests-regex '^cpp$$'
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest -m 'not slow' $(PYTEST_ARGS)

# Other kernels of ours, of LibTorch's and of MKL's, chosen by the environment. All of them run before it fails.
PORTABLE := ATEN_CPU_CAPABILITY=avx2 ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=AVX2 MKL_CBWR=COMPATIBLE
.PHONY: test-portable
test-portable: test ## both suites again as on other processors: instruction sets, MKL's other code paths: five times as long as make test
	@failed=; for setting in $(PORTABLE); do echo "--- $$setting"; \
	  env $$setting $(BIN)/ctest --test-dir build --output-on-failure --no-tests=error --tests-regex '^cpp$$' || failed+=" $$setting"; \
	  env $$setting OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS) || failed+=" $$setting (Python)"; \
	done; [ -z "$$failed" ] || { echo "failed under:$$failed" >&2; exit 1; }

.PHONY: sanitize
sanitize: sanitize-address sanitize-thread ## the C++ suite under AddressSanitizer and UBSan, its threads under ThreadSanitizer

# A build each: the one bears no other beside it.
SANITIZERS_OF_address := address,undefined
SANITIZERS_OF_thread := thread
.PHONY: sanitize-address sanitize-thread
sanitize-address sanitize-thread: sanitize-%: $(STAMPS)/build googletest
	$(BIN)/cmake -S . -B build/sanitize/$* -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja --log-level=ERROR \
	  -DCMAKE_PREFIX_PATH="$$($(PY) -c 'import torch.utils; print(torch.utils.cmake_prefix_path)')" \
	  -DSPECTRALGRAD_TESTS=ON -DSPECTRALGRAD_SANITIZE=$(SANITIZERS_OF_$*)
	$(BIN)/cmake --build build/sanitize/$*
	$(BIN)/ctest --test-dir build/sanitize/$* --output-on-failure --no-tests=error --parallel $(JOBS)

.PHONY: build
build: $(STAMPS)/editable ## the library and the extension, in build/, and an editable install

.PHONY: lint
lint: $(STAMPS)/lint $(LINT)/compile_commands.json ## clang-format, ruff, mypy, clang-tidy
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES) $(CXX_HEADERS) $(CXX_TESTS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(MAKE) --no-print-directory --jobs $(JOBS) --output-sync $(TIDY)

.PHONY: format
format: $(STAMPS)/lint ## what of that can be done by machine
	$(BIN)/clang-format -i $(CXX_SOURCES) $(CXX_HEADERS) $(CXX_TESTS)
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

.PHONY: clean
clean: ## remove builds and caches; the environment in .venv stays
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis python/*.egg-info $(STAMPS)/editable
	cd python/spectralgrad && rm -rf _C*.so _build_info.py include lib share
	find python tests -name __pycache__ -exec rm -rf {} +

# --- the environment ---------------------------------------------------------------------------------------------------

$(PY):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("spectralgrad needs Python 3.10 or newer, and \
	$(PYTHON) is " + sys.version.split()[0] + ": name another one, as in make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/torch: | $(PY)
	$(PIP_INSTALL) '$(TORCH)'
	@mkdir -p $(@D) && touch $@

$(STAMPS)/%: requirements/%.txt $(STAMPS)/torch
	$(PIP_INSTALL) -r $<
	@touch $@

# --- the build ---------------------------------------------------------------------------------------------------------

# Every time: Ninja knows what is out of date. Before pip's part, which would hide the compiler's output.
.PHONY: compile
compile: $(STAMPS)/build python-headers
	$(PY) setup.py --quiet build_ext --inplace

$(STAMPS)/editable: setup.py pyproject.toml CMakeLists.txt | compile
	$(PIP_INSTALL) --quiet --no-build-isolation --no-deps --editable .
	@touch $@

# --- clang-tidy --------------------------------------------------------------------------------------------------------

# A configuration of its own: clang cannot read the headers that g++ precompiled.
$(LINT)/compile_commands.json: CMakeLists.txt $(STAMPS)/build python-headers
	$(BIN)/cmake --fresh -S . -B $(LINT) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja --log-level=WARNING \
	  -DCMAKE_PREFIX_PATH="$$($(PY) -c 'import torch.utils; print(torch.utils.cmake_prefix_path)');$$($(PY) -m pybind11 --cmakedir)" \
	  -DPython_EXECUTABLE=$(abspath $(PY)) -DSPECTRALGRAD_PYTHON=ON -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
	@touch $@

# One stamp for each file, so that only what changed is looked at again. Without OpenMP, whose header is the compiler's own.
$(LINT)/%.tidy: %.cpp $(CXX_HEADERS) .clang-tidy $(LINT)/compile_commands.json
	$(BIN)/clang-tidy --quiet -p $(LINT) --extra-arg=-fno-openmp --warnings-as-errors='*' $<
	@mkdir -p $(@D) && touch $@

# --- what PyPI does not have -------------------------------------------------------------------------------------------

# $(call from_debian,package,what it is): installs it where that takes no password, else says what to do.
define from_debian
{ command -v apt-get >/dev/null || { echo "$(2) is missing: install it as your system does (Debian: $(1))" >&2; exit 1; }; \
  if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; \
  else echo "$(2) is missing: sudo apt-get install $(1)" >&2; exit 1; fi; \
  install="$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1)"; \
  echo "$(2) is missing: installing Debian's $(1)"; \
  $$install || { $$as_root apt-get update && $$install; }; }
endef

.PHONY: googletest
googletest:
	@[ -n "$${GTest_ROOT:-}$${GTest_DIR:-}" ] || echo '#include <gtest/gtest.h>' | $${CXX:-g++} -E -x c++ - >/dev/null 2>&1 \
	  || $(call from_debian,libgtest-dev,GoogleTest)

.PHONY: python-headers
python-headers: | $(PY)
	@headers=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	package=$$($(PY) -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])'); \
	[ -e "$$headers/Python.h" ] || $(call from_debian,$$package,Python.h)
