# The seconds of 3000 calls of predict() with the numbers of rows given as arguments, as JSON. predict.py calls it.

suppressMessages(library(kerasfit))

layers <- list(
  keras$Input(list(10L)),
  keras$layers$Dense(16L, activation = "relu"),
  keras$layers$Dense(16L, activation = "relu"),
  keras$layers$Dense(1L)
)
model <- compile(keras$Sequential(layers), "adam", "mse")
inputs <- lapply(as.integer(commandArgs(TRUE)), function(rows) matrix(rnorm(10 * rows), rows))
seconds <- function(x) {
  began <- Sys.time()
  predict(model, x, verbose = 0)
  as.numeric(Sys.time() - began, units = "secs")
}
for (call in 1:20) {
  lapply(inputs, seconds)
}
calls <- if (nzchar(Sys.getenv("KERASFIT_BENCH_QUICK"))) 300 else 3000
taken <- vapply(seq_len(calls), function(call) seconds(inputs[[call %% length(inputs) + 1]]), 0)
cat(sprintf("[%s]\n", paste(format(taken, scientific = FALSE), collapse = ", ")))
