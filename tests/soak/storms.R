# An interactive session whose training is interrupted repeatedly by Ctrl-C: `storm(n)` trains in
# some way until it is interrupted, and `plain()` reports how a plain fit() went afterwards.

library(kerasfit)
options(keras.verbose = 0, warn = 1)

set.seed(1)
x <- matrix(rnorm(4000), ncol = 4)
y <- x[, 1] * x[, 2]
new_model <- function() {
  set_random_seed(1)
  model <- keras$Sequential(list(
    keras$Input(list(4L)),
    keras$layers$Dense(8L, activation = "relu"),
    keras$layers$Dense(1L)
  ))
  compile(model, "sgd", "mse")
}
model <- new_model()
beginning <- model$get_weights()
within <- new_model()

batch <- function() {
  rows <- sample(1000, 32)
  list(x[rows, ], y[rows])
}
deep <- function(value) {
  reticulate::py_to_r(reticulate::r_to_py(list(a = list(value), b = x[1:9, ])))
}
until_interrupted <- function(train) {
  code <- substitute(train)
  repeat {
    if (isTRUE((history <- eval(code))$params$interrupted)) return(history)
  }
}
ways <- list(
  arrays = function() fit(model, x, y, epochs = 1e6),
  generator = function() fit(model, batch, steps_per_epoch = 50, epochs = 1e6),
  batches = function() {
    fit(
      model,
      x,
      y,
      epochs = 1e6,
      callbacks = list(on_train_batch_end = function(batch, logs) logs$loss)
    )
  },
  conversions = function() {
    fit(
      model,
      x,
      y,
      epochs = 1e6,
      callbacks = list(on_train_batch_end = function(batch) deep(batch))
    )
  },
  slow = function() {
    fit(model, x, y, epochs = 1e6, callbacks = list(on_epoch_end = function() Sys.sleep(0.2)))
  },
  validation = function() fit(model, x, y, epochs = 1e6, validation_data = list(x, y)),
  nested = function() {
    fit(model, x, y, epochs = 1e6, callbacks = list(on_epoch_end = function() fit(within, x, y)))
  },
  shown = function() fit(model, x, y, epochs = 1e6, verbose = 1),
  short = function() until_interrupted(fit(model, x[1:32, ], y[1:32])),
  evaluate = function() {
    repeat {
      evaluate(model, x, y)
    }
  },
  predict = function() {
    repeat {
      predict(model, x)
    }
  },
  compile = function() until_interrupted(fit(new_model(), x[1:64, ], y[1:64]))
)
storm <- function(number) {
  way <- names(ways)[number %% length(ways) + 1]
  cat("BEGUN\n")
  history <- ways[[way]]()
  if (!isTRUE(history$params$interrupted)) cat("NOT INTERRUPTED", way, "\n")
}

plain <- function() {
  model$set_weights(beginning)
  history <- fit(model, x, y, epochs = 2, shuffle = FALSE)
  values <- c(unlist(model$get_weights()), unlist(evaluate(model, x, y)), predict(model, x[1:9, ]))
  # after some steps, TensorFlow switches to XLA, which rounds differently
  if (is.null(undisturbed)) {
    undisturbed <<- values
  }
  same <- isTRUE(all.equal(values, undisturbed, tolerance = 1e-4))
  paste(history$params$interrupted, length(history$metrics$loss), if (same) "same" else "OTHER")
}
undisturbed <- NULL
