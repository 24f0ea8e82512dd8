# Training that the parent process interrupts at random times: it sends a SIGINT after each "ready".
#
# Rscript interrupts.R COUNT checks after each interrupt that the model equals that of some step of
# an uninterrupted run.

library(kerasfit)

count <- as.integer(commandArgs(TRUE)[1])
set.seed(1)
x <- matrix(rnorm(8000), ncol = 8)
y <- x[, 1] * x[, 2]
ways <- c("arrays", "generator", "batches", "validation", "backup")

new_model <- function() {
  set_random_seed(1)
  model <- keras$Sequential(list(
    keras$Input(list(8L)),
    keras$layers$Dense(16L, activation = "relu"),
    keras$layers$Dropout(0.2),
    keras$layers$Dense(1L)
  ))
  compile(model, "adam", "mse")
}

generator <- function() {
  number <- 0
  function() {
    rows <- number %% 31 * 32 + 1:32
    number <<- number + 1
    list(x[rows, ], y[rows])
  }
}

train <- function(model, way, epochs, steps = NULL) {
  arguments <- switch(
    way,
    generator = list(generator(), steps_per_epoch = steps %||% 31),
    list(x[1:992, ], y[1:992], steps_per_epoch = steps, shuffle = FALSE)
  )
  more <- switch(
    way,
    batches = list(callbacks = list(on_train_batch_end = function(batch) NULL)),
    validation = list(validation_data = list(x, y)),
    backup = list(callbacks = if (epochs > 1e5) callback_backup_and_restore(tempfile("state")))
  )
  do.call(
    fit,
    c(
      list(model),
      arguments,
      batch_size = if (way != "generator") 32,
      epochs = epochs,
      verbose = 0,
      more
    )
  )
}

`%||%` <- rlang::`%||%`
for (number in seq_len(count)) {
  way <- ways[number %% length(ways) + 1]
  model <- new_model()
  cat("ready\n")
  # before and after fit(), an interrupt is an ordinary one of R code
  history <- tryCatch(suppressMessages(train(model, way, 1e6)), interrupt = function(condition) {
    NULL
  })
  steps <- as.integer(keras$ops$convert_to_numpy(model$optimizer$iterations$value))
  expected <- new_model()
  if (steps %/% 31) {
    train(expected, way, steps %/% 31)
  }
  if (steps %% 31) {
    train(expected, way, 1, steps %% 31)
  }
  same <- identical(model$get_weights(), expected$get_weights())
  cat(sprintf(
    "%s after %d steps: %s\n",
    way,
    steps,
    if (same && !isFALSE(history$params$interrupted)) "whole" else "BROKEN"
  ))
}
cat("alive\n")
