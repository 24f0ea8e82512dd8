# The two commands of the README, demo and test, and what a developer needs beside them.
# Each sets up what it needs; setting up is quick when there is nothing to do.

export R_LIBS := $(CURDIR)/.Rlib
export R_LIBS_USER := $(CURDIR)/.Rlib
export RETICULATE_PYTHON := $(CURDIR)/.venv/bin/python
VENV_PYTHON := .venv/bin/python

BACKENDS := tensorflow jax torch

.PHONY: setup setup-demo demo test test-all lint test-python test-r test-oldest test-newest check soak differential bench docs vignettes spelling readme clean

# what tests and the other targets need; PYTHON=/path/to/python chooses the Python that .venv is made with
setup:
	@tools/setup.sh test

setup-demo:
	@tools/setup.sh demo

# trains a classifier of letters; its plot goes to build/letters.png
demo: setup-demo
	@mkdir -p build
	@cd build && Rscript ../inst/examples/letters.R

# a quarter of an hour on two cores
test:
	@began=$$(date +%s); $(MAKE) --no-print-directory lint test-python test-r && \
	  echo "make test took $$(( ($$(date +%s) - began) / 60 )) min $$(( ($$(date +%s) - began) % 60 )) s"

# for a night: all of that on every backend, the whole product of models and plans, and the longer trials below
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
	.venv/bin/air format --check R tests tools inst/examples
	Rscript tools/lint.R

# the core by itself: all of it on PyTorch, which compiles nothing; what depends on the backend on the others too. By one
# process more than there are cores, since tests wait for other processes; each with one thread.
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 KERASFIT_CACHE=$(CURDIR)/build/cache $(VENV_PYTHON) -m pytest -n $(WORKERS) --dist worksteal --durations=20
DEPENDS_ON_BACKEND := $(patsubst %,tests/python/test_%.py,parity engines attributes text kernels keras_private user_memory predict_sizes backup backup_interrupts)
# XLA optimizes its own operations, for which we have kernels, as for users; only LLVM, after that, does no more than it must
test-python: export XLA_FLAGS := --xla_backend_optimization_level=0
test-python: setup
	KERAS_BACKEND=torch $(PYTEST)
	for backend in jax tensorflow; do KERAS_BACKEND=$$backend $(PYTEST) $(DEPENDS_ON_BACKEND) || exit; done

# the core with the oldest versions of Keras and the backends that pyproject.toml promises, and with the newest
ON_OTHER_VERSIONS := $(patsubst %,tests/python/test_%.py,arguments data delegate extras loop mistakes nesting sources store)
test-oldest test-newest: setup
	tools/test-with.sh $(@:test-%=%) "$(BACKENDS)" $(DEPENDS_ON_BACKEND)
	tools/test-with.sh $(@:test-%=%) tensorflow $(ON_OTHER_VERSIONS)

# what an R user sees, in the package as installed
test-r: export KERASFIT_CACHE := $(CURDIR)/build/cache
test-r: export TESTTHAT_CPUS ?= $(WORKERS)
test-r: export OMP_NUM_THREADS := 1
test-r: export TF_NUM_INTRAOP_THREADS := 1
test-r: setup
	NOT_CRAN=true Rscript -e 'testthat::test_local(".", load_package = "installed", reporter = "check")'

# what is survived: kills, interrupts, a thousand calls, a zoo of models and data; some of it is SHARE="--share 0.1" (an hour for all)
soak: setup
	$(VENV_PYTHON) tests/soak/soak.py $(SHARE)

# random models, data and options, trained by our fit() and by Keras's
differential: setup
	$(VENV_PYTHON) tests/soak/differential.py $(CASES)

# R CMD check of the tarball that would be released, as CRAN does it, with all tests, and with Imports only; or for example
# make check MODES="cran imports"
check: setup
	tools/check.sh $(MODES)

# measures against Keras and the best loops there are, into benchmarks/RESULTS.md; all, or for example
# make bench ONLY="warm cold" BACKENDS="jax"
bench: setup
	$(VENV_PYTHON) benchmarks/bench.py $(ONLY) $(BACKENDS)

# help pages and NAMESPACE, from the comments in R/
docs: setup
	Rscript -e 'roxygen2::roxygenise(load_code = "source")'

# vignettes/*.Rmd with the output of *.Rmd.orig, where these have changed; all of them with ALL=--all
vignettes: setup
	Rscript tools/vignettes.R $(ALL)

# words that are neither English nor in inst/WORDLIST
spelling:
	Rscript -e 'print(words <- spelling::spell_check_package()); quit(status = nrow(words) > 0)'

# README.md, with the output that its commands print now
readme: setup
	Rscript -e 'rmarkdown::render("README.Rmd", output_options = list(html_preview = FALSE), quiet = TRUE)'

clean:
	rm -rf build .venv .Rlib
