# What the benchmarks in R share; measure.py is the same for those in Python.

quick <- nzchar(Sys.getenv("KERASFIT_BENCH_QUICK"))
backend <- Sys.getenv("KERAS_BACKEND", "tensorflow")

#' Milliseconds for each of so many steps of something
milliseconds <- function(run, steps) {
  began <- Sys.time()
  run()
  as.numeric(Sys.time() - began, units = "secs") * 1000 / steps
}

#' The median ratio with its quartiles
ratio <- function(a, b) {
  quartiles <- quantile(a / b, c(0.25, 0.5, 0.75))
  sprintf("**%.2f** (%.2f to %.2f)", quartiles[[2]], quartiles[[1]], quartiles[[3]])
}

row <- function(...) cat("|", paste(c(...), collapse = " | "), "|\n")
