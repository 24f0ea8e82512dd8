# The two commands of the README, demo and test, and what a developer needs beside them.
# Each sets up what it needs; setting up is quick when there is nothing to do.

export R_LIBS := $(CURDIR)/.Rlib
export R_LIBS_USER := $(CURDIR)/.Rlib
export RETICULATE_PYTHON := $(CURDIR)/.venv/bin/python
PYTHON := .venv/bin/python

.PHONY: setup demo test lint test-python test-r test-oldest test-newest check soak bench docs readme clean

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

# the core by itself on tensorflow; by as many processes as there are cores, on every backend what depends on it, and on
# torch, which compiles nothing, what trains often and depends on none
ON_EVERY_BACKEND := $(patsubst %,tests/python/test_%.py,parity engines kernels keras_private user_memory predict_sizes backup backup_interrupts)
ON_TORCH := tests/python/test_backup_folder.py
IN_PARALLEL := KERASFIT_CACHE=$(CURDIR)/build/cache $(PYTHON) -m pytest -n auto --dist worksteal
test-python: setup
	$(PYTHON) -m pytest $(ON_EVERY_BACKEND:%=--ignore=%) $(ON_TORCH:%=--ignore=%)
	KERAS_BACKEND=torch $(IN_PARALLEL) $(ON_TORCH)
	for backend in tensorflow jax torch; do KERAS_BACKEND=$$backend $(IN_PARALLEL) $(ON_EVERY_BACKEND) || exit; done

# the core with the oldest versions of Keras and the backends that pyproject.toml promises, and with the newest
ON_OTHER_VERSIONS := $(patsubst %,tests/python/test_%.py,arguments data delegate extras loop mistakes nesting sources store)
test-oldest test-newest: setup
	tools/test-with.sh $(@:test-%=%) "tensorflow jax torch" $(ON_EVERY_BACKEND)
	tools/test-with.sh $(@:test-%=%) tensorflow $(ON_OTHER_VERSIONS)

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
