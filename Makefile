# Each target installs what it needs. The machine must have Python 3.10 or newer (with venv), g++ and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Variables to set on the command line or in the environment.
PYTHON ?= python3
# The Python environment that everything is installed into.
VENV ?= .venv
# Options for every `pip install`, such as an index or a proxy.
PIP_FLAGS ?=
# The torch to build against and to run with.
TORCH ?= torch==2.13.0
# The number of parallel compilers. Two of them fit into 8 GiB of memory.
JOBS ?= $(shell nproc)
# Arguments of `make compare` and `make bench`.
ARGS ?=
# Arguments of pytest. On small matrices such as those of the tests, two processes with one thread each are faster than
# one process with two threads. A process that has run out of tests takes some from the other one.
PYTEST_ARGS ?= --numprocesses 2 --dist worksteal

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

## help: show this list
.PHONY: help
help:
	@sed -nE 's/^## ([a-z-]+): (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

## compare: show why gradients of eigh differ between frameworks; ARGS="--quick" takes half a minute
.PHONY: compare
compare: build $(STAMPS)/compare
	$(PY) -m spectralgrad compare $(ARGS)

## bench: measure the speed against torch, TensorFlow, JAX, NumPy; ARGS="--quick" takes about a minute
# Runs every benchmarks/bench_*.py, one after the other. Leave the machine idle otherwise.
.PHONY: bench
bench: build $(STAMPS)/compare
	@for benchmark in $(sort $(wildcard benchmarks/bench_*.py)); do $(PY) $$benchmark $(ARGS); done
	$(PY) benchmarks/update_readme.py

## test: run the C++ suite, a program that uses the installed library, the Python suite
.PHONY: test
test: build googletest $(STAMPS)/test $(STAMPS)/clients
	$(BIN)/cmake -S . -B build -DSPECTRALGRAD_TESTS=ON --log-level=ERROR
	$(BIN)/cmake --build build
	$(BIN)/ctest --test-dir build --output-on-failure --no-tests=error --parallel $(JOBS)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS)

## quick: run the C++ suite, and some cases of each Python test that is not marked slow
.PHONY: quick
quick: build googletest $(STAMPS)/test
	$(BIN)/cmake -S . -B build -DSPECTRALGRAD_TESTS=ON --log-level=ERROR
	$(BIN)/cmake --build build --target spectralgrad_tests
	$(BIN)/ctest --test-dir build --output-on-failure --no-tests=error --tests-regex '^cpp$$'
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest --quick $(PYTEST_ARGS)

# Environment variables that select other kernels of this library, of LibTorch and of MKL. The target runs both suites
# with each of them, and fails at the end if any run failed.
PORTABLE := ATEN_CPU_CAPABILITY=avx2 ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=AVX2 MKL_CBWR=COMPATIBLE
## test-portable: also run both suites with the kernels for other processors; takes five times as long as make test
.PHONY: test-portable
test-portable: test
	@failed=; for setting in $(PORTABLE); do echo "--- $$setting"; \
	  env $$setting $(BIN)/ctest --test-dir build --output-on-failure --no-tests=error --tests-regex '^cpp$$' \
	    || failed+=" $$setting"; \
	  env $$setting OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS) || failed+=" $$setting (Python)"; \
	done; [ -z "$$failed" ] || { echo "failed under:$$failed" >&2; exit 1; }

## sanitize: run the C++ suite under AddressSanitizer and UBSan, and the parallel kernels under ThreadSanitizer
.PHONY: sanitize
sanitize: sanitize-address sanitize-thread

# One build each, because ThreadSanitizer cannot be combined with AddressSanitizer. CMakePresets.json describes them.
.PHONY: sanitize-address sanitize-thread
sanitize-address sanitize-thread: sanitize-%: $(STAMPS)/build googletest
	$(BIN)/cmake --preset sanitize-$* --log-level=ERROR \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DPython_EXECUTABLE=$(abspath $(PY))
	$(BIN)/cmake --build build/sanitize/$*
	$(BIN)/ctest --test-dir build/sanitize/$* --output-on-failure --no-tests=error --parallel $(JOBS)

## build: build the library and the extension in build/, and install the package in editable mode
.PHONY: build
build: $(STAMPS)/editable

## check: everything that a commit must pass: make lint, then make test
.PHONY: check
check:
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory test

## check-all: make check, then both suites with the kernels for other processors, then the sanitizers; takes hours
.PHONY: check-all
check-all:
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory test-portable
	$(MAKE) --no-print-directory sanitize

## lint: check layers, tolerances, columns, format (clang-format, ruff), code (ruff, mypy, clang-tidy); change nothing
# mypy reads tests, too, so their requirements are needed.
.PHONY: lint
lint: $(STAMPS)/lint $(STAMPS)/test $(LINT)/compile_commands.json
	$(PY) scripts/check_layers.py
	$(PY) scripts/check_tolerances.py
	$(PY) scripts/check_columns.py
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES) $(CXX_HEADERS) $(CXX_TESTS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(MAKE) --no-print-directory --jobs $(JOBS) --output-sync $(TIDY)

## format: fix what clang-format and ruff can fix
.PHONY: format
format: $(STAMPS)/lint
	$(BIN)/clang-format -i $(CXX_SOURCES) $(CXX_HEADERS) $(CXX_TESTS)
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

## clean: remove builds and caches; the environment in .venv stays
.PHONY: clean
clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis python/*.egg-info $(STAMPS)/editable
	cd python/spectralgrad && rm -rf _C*.so _build_info.py include lib share
	find python tests -name __pycache__ -exec rm -rf {} +

# --- the environment --------------------------------------------------------------------------------------------------

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

# --- the build --------------------------------------------------------------------------------------------------------

# Runs every time, because Ninja knows what is out of date. It runs before pip, which would hide the compiler's output.
.PHONY: compile
compile: $(STAMPS)/build python-headers
	$(PY) setup.py --quiet build_ext --inplace

$(STAMPS)/editable: setup.py pyproject.toml CMakeLists.txt | compile
	$(PIP_INSTALL) --quiet --no-build-isolation --no-deps --editable .
	@touch $@

# --- clang-tidy -------------------------------------------------------------------------------------------------------

# clang-tidy has a build configuration of its own, which compiles nothing.
$(LINT)/compile_commands.json: CMakeLists.txt $(STAMPS)/build python-headers
	$(BIN)/cmake --fresh -S . -B $(LINT) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja --log-level=WARNING \
	  -DPython_EXECUTABLE=$(abspath $(PY)) -DSPECTRALGRAD_PYTHON=ON -DSPECTRALGRAD_LINT=ON
	@touch $@

# One stamp per file, so that clang-tidy checks only files that changed. -fno-openmp, because omp.h belongs to g++ and
# clang does not find it.
$(LINT)/%.tidy: %.cpp $(CXX_HEADERS) .clang-tidy $(LINT)/compile_commands.json
	$(BIN)/clang-tidy --quiet -p $(LINT) --extra-arg=-fno-openmp --warnings-as-errors='*' $<
	@mkdir -p $(@D) && touch $@

# --- packages that are not on PyPI ------------------------------------------------------------------------------------

# $(call from_debian,package,name): installs the Debian package if that needs no password. Otherwise it prints the
# command to run, and fails.
define from_debian
{ command -v apt-get >/dev/null \
    || { echo "$(2) is missing: install it as your system does (Debian: $(1))" >&2; exit 1; }; \
  if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; \
  else echo "$(2) is missing: sudo apt-get install $(1)" >&2; exit 1; fi; \
  install="$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1)"; \
  echo "$(2) is missing: installing Debian's $(1)"; \
  $$install || { $$as_root apt-get update && $$install; }; }
endef

.PHONY: googletest
googletest:
	@[ -n "$${GTest_ROOT:-}$${GTest_DIR:-}" ] \
	  || echo '#include <gtest/gtest.h>' | $${CXX:-g++} -E -x c++ - >/dev/null 2>&1 \
	  || $(call from_debian,libgtest-dev,GoogleTest)

.PHONY: python-headers
python-headers: | $(PY)
	@headers=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	package=$$($(PY) -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])'); \
	[ -e "$$headers/Python.h" ] || $(call from_debian,$$package,Python.h)
