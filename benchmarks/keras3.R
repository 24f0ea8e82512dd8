# fit() of the package keras3 and of kerasfit, on the models of keras3's guides and examples, with made data.
#
# Usage: KERAS_BACKEND=... Rscript benchmarks/keras3.R, with R_LIBS and RETICULATE_PYTHON as in the Makefile, and the packages
# keras3 and tensorflow in R_LIBS. With KERASFIT_BENCH_QUICK=1 a quick trial.

library(keras3)
library(kerasfit)

source(file.path(
  dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
  "measure.R"
))
rounds <- if (quick) 1 else 7

classes <- function(n, k) sample(k, n, TRUE) - 1L
works <- list(
  `getting_started: MNIST, three dense layers` = list(
    model = function() {
      keras_model_sequential(input_shape = 784) |>
        layer_dense(256, activation = "relu") |>
        layer_dropout(0.4) |>
        layer_dense(128, activation = "relu") |>
        layer_dropout(0.3) |>
        layer_dense(10, activation = "softmax")
    },
    x = function() matrix(runif(12800 * 784), 12800),
    y = function() classes(12800, 10),
    batch_size = 128L
  ),
  `training_with_built_in_methods: two dense layers` = list(
    model = function() {
      keras_model_sequential(input_shape = 784) |>
        layer_dense(64, activation = "relu") |>
        layer_dense(64, activation = "relu") |>
        layer_dense(10, activation = "softmax")
    },
    x = function() matrix(runif(12800 * 784), 12800),
    y = function() classes(12800, 10),
    batch_size = 64L
  ),
  `mnist_convnet` = list(
    model = function() {
      keras_model_sequential(input_shape = c(28, 28, 1)) |>
        layer_conv_2d(32, 3, activation = "relu") |>
        layer_max_pooling_2d(2) |>
        layer_conv_2d(64, 3, activation = "relu") |>
        layer_max_pooling_2d(2) |>
        layer_flatten() |>
        layer_dropout(0.5) |>
        layer_dense(10, activation = "softmax")
    },
    x = function() array(runif(2560 * 784), c(2560, 28, 28, 1)),
    y = function() classes(2560, 10),
    batch_size = 128L
  ),
  `bidirectional_lstm_imdb, 80 words` = list(
    model = function() {
      keras_model_sequential(input_shape = 80, input_dtype = "int32") |>
        layer_embedding(5000, 64) |>
        bidirectional(layer_lstm(units = 32)) |>
        layer_dense(2, activation = "softmax")
    },
    x = function() matrix(classes(640 * 80, 5000), 640),
    y = function() classes(640, 2),
    batch_size = 32L
  ),
  `imbalanced_classification, 30 columns` = list(
    model = function() {
      keras_model_sequential(input_shape = 30) |>
        layer_dense(256, activation = "relu") |>
        layer_dense(256, activation = "relu") |>
        layer_dropout(0.3) |>
        layer_dense(256, activation = "relu") |>
        layer_dropout(0.3) |>
        layer_dense(2, activation = "softmax")
    },
    x = function() matrix(rnorm(40960 * 30), 40960),
    y = function() classes(40960, 2),
    batch_size = 2048L
  ),
  `a small table: 500 rows, batches of 32` = list(
    model = function() {
      keras_model_sequential(input_shape = 10) |>
        layer_dense(16, activation = "relu") |>
        layer_dense(2, activation = "softmax")
    },
    x = function() matrix(rnorm(5000), 500),
    y = function() classes(500, 2),
    batch_size = 32L
  )
)

fits <- list(
  keras3 = get("fit.keras.src.models.model.Model", asNamespace("keras3")),
  kerasfit = get("fit.keras.src.trainers.trainer.Trainer", asNamespace("kerasfit"))
)

row("backend", "model", "keras3, ms", "kerasfit, ms", "keras3 / kerasfit")
row(rep("---", 5))
for (name in names(works)) {
  work <- works[[name]]
  x <- work$x()
  y <- work$y()
  ways <- lapply(fits, function(fit) {
    model <- work$model()
    model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
    function() fit(model, x, y, epochs = 2L, batch_size = work$batch_size, verbose = 0)
  })
  for (run in ways) {
    run()
  }
  taken <- t(replicate(rounds, vapply(ways, milliseconds, numeric(1), steps = 2)))
  row(
    backend,
    name,
    sprintf("%.0f", apply(taken, 2, median)),
    ratio(taken[, "keras3"], taken[, "kerasfit"])
  )
}
