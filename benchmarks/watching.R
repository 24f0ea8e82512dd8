# What it costs to watch training: `tab` (see works.py) with a progress bar and with the live page, and with neither.
#
# Usage: KERAS_BACKEND=... Rscript benchmarks/watching.R, with R_LIBS and RETICULATE_PYTHON as in the Makefile.
# With KERASFIT_BENCH_QUICK=1 a quick trial.

library(kerasfit)

source(file.path(
  dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
  "measure.R"
))
rounds <- if (quick) 1 else 15
epochs <- if (quick) 50L else 500L
x <- matrix(rnorm(10000), ncol = 10)
y <- rnorm(1000)

model <- keras$Sequential(list(
  keras$layers$Dense(16L, activation = "relu"),
  keras$layers$Dense(16L, activation = "relu"),
  keras$layers$Dense(1L)
))
model |> compile("adam", "mse", metrics = "mae")

# lines and bar go through R as they do in a terminal, and to nowhere
options(cli.dynamic = TRUE)
nowhere <- file(nullfile(), open = "wt")

# somebody has the page open, and it asks for news as a browser does
page <- tempfile()
options(browser = function(url) writeLines(paste0(url, "state.json"), page))
asking <- callr::r_bg(
  function(page) {
    repeat {
      if (file.exists(page)) {
        try(suppressWarnings(readLines(readLines(page))), silent = TRUE)
      }
      Sys.sleep(0.5)
    }
  },
  list(page)
)

train <- function(...) fit(model, x, y, epochs = epochs, ...)
ways <- list(
  neither = function() train(verbose = 0),
  `verbose = 1` = function() train(verbose = 1),
  `live page` = function() train(verbose = 0, view_metrics = TRUE)
)

in_milliseconds <- function(run) {
  sink(nowhere)
  sink(nowhere, type = "message")
  on.exit({
    sink(type = "message")
    sink()
    unlink(page)
  })
  milliseconds(run, epochs)
}

for (run in ways) {
  in_milliseconds(run)
}
taken <- t(replicate(rounds, vapply(ways, in_milliseconds, numeric(1))))
asking$kill()
row(
  "backend",
  "neither, ms",
  "verbose = 1, ms",
  "live page, ms",
  "verbose = 1 / neither",
  "live page / neither"
)
row(rep("---", 6))
row(
  backend,
  sprintf("%.2f", apply(taken, 2, median)),
  ratio(taken[, "verbose = 1"], taken[, "neither"]),
  ratio(taken[, "live page"], taken[, "neither"])
)
