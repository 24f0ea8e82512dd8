# The two commands of the README, demo and test, and what a developer needs beside them.
# Each sets up what it needs; setting up is quick when there is nothing to do.

export R_LIBS := $(CURDIR)/.Rlib
export R_LIBS_USER := $(CURDIR)/.Rlib
export RETICULATE_PYTHON := $(CURDIR)/.venv/bin/python
PYTHON := .venv/bin/python

.PHONY: setup demo test test-python test-r lint check bench docs clean

setup:
	@tools/setup.sh

demo: setup
	Rscript inst/examples/letters.R

test: lint test-python test-r

test-python: setup
	$(PYTHON) -m pytest

test-r: setup
	NOT_CRAN=true Rscript -e 'testthat::test_local(".", load_package = "installed", reporter = "check")'

lint: setup
	$(PYTHON) -m ruff check python tests benchmarks
	$(PYTHON) -m ruff format --check python tests benchmarks

# R CMD check of the tarball that would be released, vignettes and all
check: setup
	rm -rf build && mkdir -p build
	cd build && R CMD build .. && _R_CHECK_FORCE_SUGGESTS_=false NOT_CRAN=true R CMD check --no-manual kerasfit_*.tar.gz

# help pages and NAMESPACE, from the comments in R/
docs: setup
	Rscript -e 'roxygen2::roxygenise(load_code = "source")'

clean:
	rm -rf build .venv .Rlib
