# An R function that takes as long to make a batch as training on it does: does one go on while the other does?
#
# Usage: KERAS_BACKEND=... Rscript benchmarks/rgen.R, with R_LIBS and RETICULATE_PYTHON as in the Makefile.
# With KERASFIT_BENCH_QUICK=1 a quick trial.

library(kerasfit)

source(file.path(
  dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
  "measure.R"
))
rounds <- if (quick) 1 else 5
steps <- if (quick) 10L else 100L
batch <- list(matrix(runif(128 * 784), 128), array(sample(0:9, 128, replace = TRUE)))

new_model <- function() {
  model <- keras$Sequential(list(
    keras$layers$Dense(512L, activation = "relu"),
    keras$layers$Dense(512L, activation = "relu"),
    keras$layers$Dense(10L, activation = "softmax")
  ))
  model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
  model
}

draw <- function(times) {
  for (i in seq_len(times)) {
    rnorm(1000)
  }
}

fit_kerasfit <- function(model, next_batch) {
  fit(model, next_batch, steps_per_epoch = steps, verbose = 0)
}

# Keras wants a true Python generator. Without a batch made in advance, TensorFlow's thread, which asks for the
# next one, and R's thread, which alone can make it, may wait for each other for ever.
as_generator <- reticulate::py_run_string(
  "def as_generator(batches):\n    yield from batches",
  local = TRUE
)$as_generator
fit_keras <- function(model, next_batch) {
  next_tuple <- function() do.call(reticulate::tuple, next_batch())
  batches <- as_generator(reticulate::py_iterator(next_tuple, prefetch = 1L))
  model$fit(batches, steps_per_epoch = steps, verbose = 0L)
}

ours <- new_model()
theirs <- new_model()
ready_batch <- function() batch
train <- function() fit_kerasfit(ours, ready_batch)

train()
draw(1000)
times <- round(1000 * milliseconds(train, steps) / milliseconds(function() draw(1000), 1))
next_batch <- function() {
  draw(times)
  batch
}
measures <- list(
  generator = function() {
    for (step in seq_len(steps)) {
      next_batch()
    }
  },
  training = train,
  Keras = function() fit_keras(theirs, next_batch),
  kerasfit = function() fit_kerasfit(ours, next_batch)
)
for (run in measures) {
  run()
}
taken <- t(replicate(rounds, vapply(measures, milliseconds, numeric(1), steps)))

row(
  "backend",
  "generator, ms",
  "training, ms",
  "Keras, ms",
  "kerasfit, ms",
  "Keras / kerasfit",
  "kerasfit / longer one"
)
row(rep("---", 7))
row(
  backend,
  sprintf("%.2f", apply(taken, 2, median)),
  ratio(taken[, "Keras"], taken[, "kerasfit"]),
  ratio(taken[, "kerasfit"], pmax(taken[, "generator"], taken[, "training"]))
)
