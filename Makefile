# The two commands of the README, demo and test, and what a developer needs beside them.
# Each sets up what it needs; setting up is quick when there is nothing to do.

export R_LIBS := $(CURDIR)/.Rlib
export R_LIBS_USER := $(CURDIR)/.Rlib
export RETICULATE_PYTHON := $(CURDIR)/.venv/bin/python
PYTHON := .venv/bin/python

.PHONY: setup demo test lint test-python test-r check soak bench docs readme clean

setup:
	@tools/setup.sh

# trains a classifier of letters; its plot goes to build/letters.png
demo: setup
	@mkdir -p build
	@cd build && Rscript ../inst/examples/letters.R

test: lint test-python test-r

lint: setup
	$(PYTHON) -m ruff check python tests benchmarks
	$(PYTHON) -m ruff format --check python tests benchmarks

# the core by itself on tensorflow; on every backend, by as many processes as there are cores, what depends on it
ON_EVERY_BACKEND := $(addprefix tests/python/test_,parity.py engines.py user_memory.py predict_sizes.py backup.py backup_interrupts.py backup_folder.py)
test-python: setup
	$(PYTHON) -m pytest $(ON_EVERY_BACKEND:%=--ignore=%)
	for backend in tensorflow jax torch; do \
	  KERASFIT_CACHE=$(CURDIR)/build/cache KERAS_BACKEND=$$backend $(PYTHON) -m pytest -n auto --dist worksteal $(ON_EVERY_BACKEND) || exit; \
	done

# what an R user sees, in the package as installed
test-r: export KERASFIT_CACHE := $(CURDIR)/build/cache
test-r: setup
	NOT_CRAN=true Rscript -e 'testthat::test_local(".", load_package = "installed", reporter = "check")'

# what is survived: kills, interrupts, a thousand calls, a zoo of models and data; some of it is SHARE="--share 0.1" (an hour for all)
soak: setup
	$(PYTHON) tests/soak/soak.py $(SHARE)

# R CMD check of the tarball that would be released, vignettes and all
check: setup
	rm -rf build && mkdir -p build
	cd build && export NOT_CRAN=true && R CMD build .. && R CMD check --no-manual kerasfit_*.tar.gz

# measures against Keras and the best loops there are, into benchmarks/RESULTS.md; all, or for example
# make bench ONLY="warm cold" BACKENDS="jax"
bench: setup
	$(PYTHON) benchmarks/bench.py $(ONLY) $(BACKENDS)

# help pages and NAMESPACE, from the comments in R/
docs: setup
	Rscript -e 'roxygen2::roxygenise(load_code = "source")'

# README.md, with the output that its commands print now
readme: setup
	Rscript -e 'rmarkdown::render("README.Rmd", output_options = list(html_preview = FALSE), quiet = TRUE)'

clean:
	rm -rf build .venv .Rlib
