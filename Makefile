# Everything happens in .venv, set up by the first target that needs it; stamp files in there say
# what is installed, so that a second call is quick. `make` alone lists the targets.
#
#   PYTHON=python3.12   the interpreter that .venv is made with (3.11 or newer)
#   ARGS="-k expand"    further arguments for pytest, the benchmarks, the demo or the examples

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
COMPILERS = $(foreach cc,gcc clang,$(if $(shell command -v $(cc)),$(cc)))
# How they look for warnings: gcc sees some only where it optimises, clang sees all where it parses. Nothing is linked.
LOOK_gcc := -O1
LOOK_clang := -fsyntax-only

# Modules of Cython, which have their types in a stub.
STUBBED = $(subst /,.,$(basename $(shell find fastdist -name '*.pyi')))

# What the compiled extension and the package's metadata are made from.
SOURCES := setup.py pyproject.toml fastdist/_version.py \
    $(shell find src_c fastdist -name '*.[ch]' -o -name '*.def' -o -name '*.pyx' -o -name '*.pxd')

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo examples test test-c test-peers test-clusters lint battery bench bench-laws bench-gradients bench-dask bench-times bench-history docs changelog wheels test-nogil dist clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1 ## /p' Makefile | awk -F ' ## ' '{ printf "  %-22s %s\n", $$1, $$2 }'

demo: .venv/package.stamp ## batched samples of the iris data, explained and drawn to demo.png
	$(BIN)/python -m fastdist demo $(ARGS)

examples: .venv/package.stamp .venv/examples.stamp ## a mixture, a bandit, a process, two filters, value at risk, an option, a VAE, two policies: tables, and pictures in build/examples
	mkdir -p build/examples
	set -e; for name in mixture_iris thompson_digits gp_co2 kalman_nile portfolio_var qmc_option vae_digits policy_gradient_pendulum sac_pendulum; do \
	    $(BIN)/python examples/$$name.py --output build/examples/$$name.png $(ARGS); \
	done

test: .venv/package.stamp .venv/test.stamp ## unit tests
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

test-c: ## every kernel on every instruction set against scalar, and threads, in C: gcc, clang, sanitizers, NEON
	tests/c/run $(ARGS)

test-peers: .venv/package.stamp .venv/test.stamp .venv/peers.stamp .venv/adapters.stamp ## comparisons with torch and scipy; the adapters to torch, Pyro, autograd and more
	$(BIN)/python -m pytest -n auto --dist loadfile -m peers tests/peers $(ARGS)

test-clusters: .venv/package.stamp .venv/test.stamp .venv/clusters.stamp ## the examples of docs' page on clusters, with ray, Spark and JAX as well
	$(BIN)/python -m pytest -m peers tests/peers/test_clusters.py $(ARGS)

lint: .venv/package.stamp .venv/lint.stamp .venv/examples.stamp ## style, types, import directions, compiler warnings
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint fastdist
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml --allowlist tools/stubtest_allowlist $(STUBBED)
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_imports.py
	$(BIN)/python bench/report.py --check
	$(BIN)/repo-review .
	set -e; $(foreach cc,$(COMPILERS), \
	    CC=$(cc) LDSHARED=true FASTDIST_BUILD_CFLAGS="$(LOOK_$(cc)) -Werror" $(BIN)/python setup.py --quiet \
	        build_ext --force --build-temp build/lint/$(cc) --build-lib build/lint/$(cc);)
	@echo "all clean, with $(COMPILERS)"

battery: .venv/package.stamp .venv/test.stamp ## statistical tests of the stream, at length, to docs/statistics.md
	$(BIN)/python tests/statistics/battery.py $(ARGS)

bench: .venv/package.stamp .venv/bench.stamp ## speed relative to NumPy, torch, scipy and more, to bench/results
	$(BIN)/python bench/run.py $(ARGS)

bench-laws: .venv/package.stamp .venv/bench.stamp ## transformed, truncated, discrete and other laws, steps of learning, cdfs
	$(BIN)/python bench/laws.py $(ARGS)

bench-gradients: .venv/package.stamp .venv/bench.stamp ## gradients and fastdist.torch, relative to torch
	$(BIN)/python bench/gradients.py $(ARGS)
	$(BIN)/python bench/torch_adapter.py $(ARGS)

bench-dask: .venv/package.stamp .venv/bench.stamp ## chunked draws, relative to dask.array.random and to one draw
	$(BIN)/python bench/chunks.py $(ARGS)

bench-times: .venv/package.stamp .venv/bench.stamp ## times of kernels and calls, to compare with earlier ones
	$(BIN)/python -m pytest bench $(ARGS)

docs: .venv/package.stamp .venv/examples.stamp .venv/docs.stamp ## the site, to build/docs; ARGS="-D gallery_options=" runs its gallery at length
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky -j auto -d build/doctrees $(ARGS) docs build/docs
	$(BIN)/python tools/check_site.py build/docs

bench-history: .venv/history.stamp ## times of calls from commit to commit, by asv: ARGS="v0.1.0..main"
	$(BIN)/asv run $(ARGS)

changelog: .venv/dist.stamp ## what is in changes/ to the top of CHANGELOG.md: VERSION=0.2.0
	$(BIN)/towncrier build --yes --version $(VERSION)

wheels: .venv/wheels.stamp ## wheels for Linux, x86_64 and aarch64, glibc and musl, by zig, to dist; ARGS: some of them
	$(BIN)/python tools/wheels.py dist $(ARGS)

test-nogil: ## the unit tests on CPython 3.13 without a GIL, which is built the first time; to docs/free_threads.md
	tools/test_free_threads $(ARGS)

# The time that archives tell of their files: the commit's, so that its sdist has the same bytes whenever made.
dist: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
dist: .venv/dist.stamp ## sdist and wheel in dist/, and a check of what is in them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python tools/check_dist.py dist

clean: ## back to a fresh clone
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .benchmarks
	rm -f demo.png fastdist/*/*.so
	find . '(' -name __pycache__ -o -name .hypothesis ')' -type d -prune -exec rm -rf {} +

# ---- set-up ------------------------------------------------------------------------------

.venv/pip.stamp:
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade 'pip>=25.1' # the first that knows --group
	touch $@

# Python files are used where they are; the extension is built again when its sources change.
.venv/package.stamp: .venv/pip.stamp $(SOURCES)
	$(INSTALL) --editable '.[plot]'
	touch $@

# A dependency group of pyproject.toml.
.venv/%.stamp: .venv/pip.stamp pyproject.toml
	$(INSTALL) --group $*
	touch $@
