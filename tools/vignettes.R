# Runs the code of vignettes/*.Rmd.orig and writes the vignettes with its output and plots to *.Rmd,
# which can be built without Keras.
#
# Rscript tools/vignettes.R renders the vignettes that are out of date, --all renders all of them,
# and --check fails if any are out of date.

digest_of <- function(source) {
  text <- tempfile()
  on.exit(unlink(text))
  # the same line ends on every system
  writeLines(readLines(source, encoding = "UTF-8"), text, useBytes = TRUE)
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
      knitr::opts_chunk$set(error = FALSE) # stop at unexpected errors
      knitr::knit(source, paste0(source, ".new"), quiet = TRUE, envir = globalenv())
    },
    list(dirname(source), basename(source)),
    show = TRUE
  )
  new <- paste0(source, ".new")
  lines <- readLines(new, encoding = "UTF-8")
  unlink(new)
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
