# `demo` and `test`, which the README describes, and targets for developers.
# Each target runs the set-up first, which is quick if nothing has changed.

export R_LIBS := $(CURDIR)/.Rlib
export R_LIBS_USER := $(CURDIR)/.Rlib
export RETICULATE_PYTHON := $(CURDIR)/.venv/bin/python
VENV_PYTHON := .venv/bin/python

BACKENDS := tensorflow jax torch

.PHONY: setup setup-demo demo test test-all lint test-python test-r test-oldest test-newest check soak differential bench docs vignettes spelling readme clean

# installs what tests and the other targets need; PYTHON=/path/to/python selects the Python for .venv
setup:
	@tools/setup.sh test

setup-demo:
	@tools/setup.sh demo

# trains a classifier of letters and writes build/letters.png, the plot of the training
demo: setup-demo
	@mkdir -p build
	@cd build && Rscript ../inst/examples/letters.R

# lint and the tests that each commit must pass; a quarter of an hour on two cores
test:
	@began=$$(date +%s); $(MAKE) --no-print-directory lint test-python test-r && \
	  echo "make test took $$(( ($$(date +%s) - began) / 60 )) min $$(( ($$(date +%s) - began) % 60 )) s"

# to run overnight: lint and all tests on every backend, all combinations of models and plans, and the longer checks below
test-all: export KERASFIT_FUZZ_CALLS := 2000
test-all: export KERASFIT_TEST_ALL := 1
test-all: lint
	for backend in $(BACKENDS); do KERAS_BACKEND=$$backend $(PYTEST) -m '' || exit; done
	for backend in $(BACKENDS); do KERASFIT_TEST_SESSIONS=$$backend $(MAKE) test-r || exit; done
	$(MAKE) check test-oldest test-newest differential
	$(MAKE) soak SHARE="--share 0.1"

lint: setup
	$(VENV_PYTHON) -m ruff check inst/python tests benchmarks tools
	$(VENV_PYTHON) -m ruff format --check inst/python tests benchmarks tools
	$(VENV_PYTHON) -m mypy
	.venv/bin/air format --check R tests tools inst/examples
	Rscript tools/lint.R

# Tests of the core: all of them on PyTorch, which compiles nothing, and those that depend on the backend on the others too.
# They run in one process more than there are cores, since tests wait for other processes, and with one thread each.
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 KERASFIT_CACHE=$(CURDIR)/build/cache $(VENV_PYTHON) -m pytest -n $(WORKERS) --dist worksteal --durations=20
DEPENDS_ON_BACKEND := $(patsubst %,tests/python/test_%.py,parity engines kernels_in_training attributes text kernels keras_private user_memory predict_sizes several_devices shared_programs backup backup_interrupts)
# This lowers only LLVM's optimization. XLA still optimizes its own operations, which our kernels replace, as it does for users.
test-python: export XLA_FLAGS := --xla_backend_optimization_level=0
test-python: setup
	KERAS_BACKEND=torch $(PYTEST)
	for backend in jax tensorflow; do KERAS_BACKEND=$$backend $(PYTEST) $(DEPENDS_ON_BACKEND) || exit; done

# tests of the core with the oldest versions of Keras and the backends that pyproject.toml allows, and with the newest
ON_OTHER_VERSIONS := $(patsubst %,tests/python/test_%.py,arguments callbacks checks class_weights custom_fit data levels loop nesting sources store)
test-oldest test-newest: setup
	tools/test-with.sh $(@:test-%=%) "$(BACKENDS)" $(DEPENDS_ON_BACKEND)
	tools/test-with.sh $(@:test-%=%) tensorflow $(ON_OTHER_VERSIONS)

# tests of the installed R package
test-r: export KERASFIT_CACHE := $(CURDIR)/build/cache
test-r: export TESTTHAT_CPUS ?= $(WORKERS)
test-r: export OMP_NUM_THREADS := 1
test-r: export TF_NUM_INTRAOP_THREADS := 1
test-r: setup
	NOT_CRAN=true Rscript -e 'testthat::test_local(".", load_package = "installed", reporter = "check")'

# soak tests: kills, interrupts, a thousand calls, many kinds of models and data. All take an hour; SHARE="--share 0.1" runs a part
soak: setup
	$(VENV_PYTHON) tests/soak/soak.py $(SHARE)

# compares our fit() with Keras's on random models, data and options
differential: setup
	$(VENV_PYTHON) tests/soak/differential.py $(CASES)

# R CMD check of the release tarball in three modes: as CRAN runs it, with all tests, and with Imports only. To select modes:
# make check MODES="cran imports"
check: setup
	tools/check.sh $(MODES)

# compares speed with Keras and with hand-written loops, and writes benchmarks/RESULTS.md. To select benchmarks:
# make bench ONLY="warm cold" BACKENDS="jax"
bench: setup
	$(VENV_PYTHON) benchmarks/bench.py $(ONLY) $(BACKENDS)

# generates help pages and NAMESPACE from the comments in R/
docs: setup
	Rscript -e 'roxygen2::roxygenise(load_code = "source")'

# renders those vignettes/*.Rmd.orig that have changed to *.Rmd with output; ALL=--all renders all
vignettes: setup
	Rscript tools/vignettes.R $(ALL)

# lists words that are neither English nor in inst/WORDLIST
spelling:
	Rscript -e 'print(words <- spelling::spell_check_package()); quit(status = nrow(words) > 0)'

# renders README.md from README.Rmd
readme: setup
	Rscript -e 'rmarkdown::render("README.Rmd", output_options = list(html_preview = FALSE), quiet = TRUE)'

clean:
	rm -rf build .venv .Rlib
