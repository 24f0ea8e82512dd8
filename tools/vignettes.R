# Runs the code of vignettes/*.Rmd.orig and writes the vignettes, with its output and plots, as *.Rmd, which need no Keras to
# be built. `Rscript tools/vignettes.R` makes those that are not current, `--all` makes all of them, and `--check` only says
# which are not current.

digest_of <- function(source) {
  text <- tempfile()
  on.exit(unlink(text))
  writeLines(readLines(source, encoding = "UTF-8"), text, useBytes = TRUE) # the line ends of no system
  tools::md5sum(text)[[1]]
}

vignette_of <- function(source) sub("[.]orig$", "", source)
note <- function(source) {
  sprintf(
    "<!-- Made from %s by `make vignettes`. Its md5 sum: %s -->",
    basename(source),
    digest_of(source)
  )
}
is_current <- function(source) {
  file.exists(vignette_of(source)) && note(source) %in% readLines(vignette_of(source))
}

make_vignette <- function(source) {
  message("Running ", basename(source))
  callr::r(
    function(folder, source) {
      setwd(folder)
      unlink(Sys.glob(sprintf("figures/%s-*", sub("[.].*", "", source))))
      knitr::opts_chunk$set(error = FALSE) # stops, as rmarkdown does, but where a chunk is to show errors
      knitr::knit(source, sub("[.]orig$", "", source), quiet = TRUE, envir = globalenv())
    },
    list(dirname(source), basename(source)),
    show = TRUE
  )
  lines <- readLines(vignette_of(source), encoding = "UTF-8")
  writeLines(enc2utf8(c(lines, "", note(source))), vignette_of(source), useBytes = TRUE)
}

mode <- commandArgs(TRUE)
sources <- Sys.glob("vignettes/*.Rmd.orig")
old <- Filter(function(source) !is_current(source), sources)
if (identical(mode, "--check")) {
  if (length(old)) {
    stop(
      "`make vignettes` must be run, since these have changed: ",
      toString(basename(old)),
      call. = FALSE
    )
  }
} else {
  for (source in if (identical(mode, "--all")) sources else old) {
    make_vignette(source)
  }
}
