# Renders vignettes/*.Rmd.orig to *.Rmd with output and plots, so that R CMD build needs no Keras.
# `Rscript tools/vignettes.R` renders those that are out of date, `--all` renders all of them, and `--check` fails if any is out
# of date.

digest_of <- function(source) {
  text <- tempfile()
  on.exit(unlink(text))
  writeLines(readLines(source, encoding = "UTF-8"), text, useBytes = TRUE) # line endings that do not depend on the system
  tools::md5sum(text)[[1]]
}

vignette_of <- function(source) sub("[.]orig$", "", source)
note <- function(source) sprintf("<!-- Made from %s by `make vignettes`. Its md5 sum: %s -->", basename(source), digest_of(source))
is_current <- function(source) file.exists(vignette_of(source)) && note(source) %in% readLines(vignette_of(source))

make_vignette <- function(source) {
  message("Running ", basename(source))
  callr::r(function(folder, source) {
    setwd(folder)
    unlink(Sys.glob(sprintf("figures/%s-*", sub("[.].*", "", source))))
    knitr::opts_chunk$set(error = FALSE) # as in rmarkdown: an error stops, except in chunks with error = TRUE
    knitr::knit(source, sub("[.]orig$", "", source), quiet = TRUE, envir = globalenv())
  }, list(dirname(source), basename(source)), show = TRUE)
  lines <- readLines(vignette_of(source), encoding = "UTF-8")
  writeLines(enc2utf8(c(lines, "", note(source))), vignette_of(source), useBytes = TRUE)
}

mode <- commandArgs(TRUE)
sources <- Sys.glob("vignettes/*.Rmd.orig")
old <- Filter(function(source) !is_current(source), sources)
if (identical(mode, "--check")) {
  if (length(old)) stop("Vignettes are out of date: ", toString(basename(old)), ". Run `make vignettes`.", call. = FALSE)
} else {
  for (source in if (identical(mode, "--all")) sources else old) make_vignette(source)
}
