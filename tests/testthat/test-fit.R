skip_on_cran()

test_that("fit() has the documented arguments, in order, with their defaults", {
  f <- getS3method("fit", "keras.src.trainers.trainer.Trainer")
  expect_named(
    formals(f),
    c(
      "object",
      "x",
      "y",
      "...",
      "batch_size",
      "epochs",
      "callbacks",
      "validation_split",
      "validation_data",
      "shuffle",
      "class_weight",
      "sample_weight",
      "initial_epoch",
      "steps_per_epoch",
      "validation_steps",
      "validation_batch_size",
      "validation_freq",
      "verbose",
      "view_metrics"
    )
  )
  expect_identical(formals(f)$epochs, 1L)
  expect_identical(formals(f)$initial_epoch, 1L)
  expect_identical(formals(f)$validation_split, 0)
  expect_identical(formals(f)$verbose, quote(getOption("keras.verbose", default = "auto")))
})

test_that("fit() trains the model in place and returns the history invisibly", {
  model <- classifier()
  before <- model$get_weights()
  trained <- withVisible(fit(
    model,
    iris_x,
    iris_y,
    epochs = 20,
    validation_split = 0.2,
    verbose = 0
  ))
  expect_false(trained$visible)
  expect_s3_class(trained$value, "keras_training_history")
  expect_false(identical(before, model$get_weights()))
  loss <- trained$value$metrics$loss
  expect_lt(loss[20], loss[1])
})

test_that("training gives the same results as Keras's own", {
  ours <- classifier()
  fit(ours, iris_x, iris_y, epochs = 3, validation_split = 0.2, shuffle = FALSE, verbose = 0)
  theirs <- classifier()
  theirs$fit(
    iris_x,
    array(as.integer(iris_y) - 1L),
    epochs = 3L,
    validation_split = 0.2,
    shuffle = FALSE,
    verbose = 0L
  )
  expect_equal(ours$get_weights(), theirs$get_weights(), tolerance = 1e-5)
})

test_that("a run with a seed repeats bit for bit, including shuffling", {
  run <- function() {
    model <- classifier()
    fit(model, iris_x, iris_y, epochs = 2, verbose = 0)
    model$get_weights()
  }
  expect_identical(run(), run())
})

test_that("epochs count from one and `epochs` is the last epoch", {
  history <- fit(regressor(), iris_x, iris_x[, 1], initial_epoch = 6L, epochs = 10L, verbose = 0)
  expect_identical(history$params$epoch, 6:10)
  expect_length(history$metrics$loss, 5)
})

test_that("validation data can be a list or a tuple, with or without weights", {
  rows <- 101:150
  x_val <- iris_x[rows, ]
  y_val <- as.integer(iris_y[rows]) - 1L
  losses <- function(validation_data) {
    fit(
      classifier(),
      iris_x[-rows, ],
      iris_y[-rows],
      validation_data = validation_data,
      shuffle = FALSE,
      verbose = 0
    )$metrics$val_loss
  }
  expected <- losses(list(x_val, y_val))
  expect_equal(losses(tuple(x_val, y_val)), expected)
  expect_equal(losses(list(x_val, iris_y[rows])), expected)
  expect_equal(losses(tuple(x_val, iris_y[rows])), expected)
  expect_equal(losses(list(x_val, y_val, rep(1, 50))), expected)
  expect_equal(losses(tuple(x_val, y_val, rep(2, 50))), 2 * expected, tolerance = 1e-5)
})

test_that("validation data override the validation split, which uses the last samples", {
  last <- 121:150
  by_data <- fit(
    classifier(),
    iris_x[-last, ],
    iris_y[-last],
    validation_data = list(iris_x[last, ], iris_y[last]),
    validation_split = 0.5,
    shuffle = FALSE,
    verbose = 0
  )
  by_split <- fit(
    classifier(),
    iris_x,
    iris_y,
    validation_split = 0.2,
    shuffle = FALSE,
    verbose = 0
  )
  expect_equal(by_data$metrics, by_split$metrics)
  expect_identical(by_split$params$samples, 120L)
  expect_identical(by_split$params$validation_samples, 30L)
})

test_that("validation_steps and validation_batch_size set the number and size of its steps", {
  losses <- function(...) {
    fit(classifier(), iris_x, iris_y, shuffle = FALSE, verbose = 0, ...)$metrics$val_loss
  }
  first <- 1:20
  expect_equal(
    losses(
      validation_data = list(iris_x, iris_y),
      validation_batch_size = 10,
      validation_steps = 2
    ),
    losses(validation_data = list(iris_x[first, ], iris_y[first]))
  )
})

test_that("a model class with its own fit() gets further arguments", {
  reticulate::py_run_string(
    "
import keras
class OwnFit(keras.Sequential):
    def fit(self, *args, temperature=None, **kwargs):
        self.temperature = temperature
        return super().fit(*args, **kwargs)
"
  )
  model <- reticulate::py$OwnFit(list(keras$Input(list(4L)), keras$layers$Dense(1L)))
  compile(model, "sgd", "mse")
  history <- fit(
    model,
    iris_x,
    iris_x[, 1],
    temperature = 0.5,
    epochs = 3,
    initial_epoch = 2,
    verbose = 0
  )
  expect_equal(model$temperature, 0.5)
  expect_identical(history$params$epoch, 2:3)
})

test_that("a model created by a module that converts values to R can be trained", {
  for (convert in c(TRUE, FALSE)) {
    library <- reticulate::import("keras", convert = convert)
    inputs <- library$Input(list(4L))
    model <- library$Model(
      inputs,
      library$layers$Dense(3L, activation = "softmax", name = "outpt")(inputs)
    )
    model |>
      compile(
        library$optimizers$SGD(0.1),
        "sparse_categorical_crossentropy",
        metrics = c("accuracy", "mae")[1]
      )
    history <- fit(
      model,
      iris_x,
      iris_y,
      verbose = 0,
      callbacks = library$callbacks$EarlyStopping(monitor = "loss")
    )
    expect_named(history$metrics, c("loss", "accuracy"))
    expect_named(evaluate(model, iris_x, iris_y, verbose = 0), c("loss", "accuracy"))
    expect_identical(dim(predict(model, iris_x, verbose = 0)), c(150L, 3L))
    expect_output(summary(model), "outpt")
    two <- library$Model(
      inputs,
      list(
        library$layers$Dense(1L, name = "a")(inputs),
        library$layers$Dense(1L, name = "b")(inputs)
      )
    )
    expect_error(
      compile(two, "sgd", "mse", metrics = "mae"),
      "1 element for the 2 outputs of the model: a, b"
    )
  }
})

test_that("steps that modify their arguments do not change R's data", {
  skip_unless_all()
  answer <- in_new_session(
    function() {
      library(kerasfit)
      reticulate::py_run_string(
        "
import keras
class Scaled(keras.layers.Layer):
    def call(self, x):
        x *= 2
        return x
def loss(y_true, y_pred):
    y_true *= 3
    return keras.ops.mean((keras.ops.cast(y_true, y_pred.dtype) - y_pred) ** 2, axis=-1)
"
      )
      keras$config$set_floatx("float64") # which is R's own, so that no conversion is a copy
      main <- reticulate::import_main()
      model <- keras$Sequential(list(keras$Input(list(1L)), main$Scaled(), keras$layers$Dense(1L)))
      compile(model, keras$optimizers$SGD(0), main$loss)
      data <- list(
        x = matrix(seq(0, 1, length.out = 64)),
        y = seq(1, 2, length.out = 64),
        w = seq(0.5, 1, length.out = 64)
      )
      before <- lapply(data, function(values) values + 0)
      losses <- function(shuffle, batch_size = 64L) {
        run <- fit(
          model,
          data$x,
          data$y,
          sample_weight = data$w,
          validation_data = list(data$x, data$y, data$w),
          epochs = 4,
          batch_size = batch_size,
          shuffle = shuffle,
          verbose = 0
        )
        c(run$metrics$loss, run$metrics$val_loss)
      }
      spread <- c(
        diff(range(losses(TRUE))),
        diff(range(losses(FALSE))),
        diff(range(losses(FALSE, 16L)))
      )
      for (i in 1:2) {
        evaluate(model, data$x, data$y, sample_weight = data$w, verbose = 0)
      }
      predict(model, data$x, verbose = 0)
      list(spread = spread, unchanged = identical(data, before))
    },
    c(KERAS_BACKEND = "torch")
  )
  expect_true(answer$unchanged)
  expect_lt(max(answer$spread), 1e-6)
})

test_that("a PyDataset with workers does not hang, whether written in R or calling R", {
  skip_if_not_installed("callr")
  steps <- function() {
    library(kerasfit)
    x <- matrix(1:80 / 80, ncol = 4)
    model <- compile(keras$Sequential(list(keras$layers$Dense(1L))), "sgd", "mse")
    batch <- function(number) tuple(x[number * 5 + 1:5, ], x[number * 5 + 1:5, 1])
    calling <- reticulate::py_run_string(
      "
import keras
class Calling(keras.utils.PyDataset):
    def __init__(self, batch, **options):
        super().__init__(**options)
        self.batch = batch
    def __len__(self):
        return 4
    def __getitem__(self, number):
        return self.batch(number)
"
    )$Calling
    written <- reticulate::PyClass(
      "Written",
      inherit = keras$utils$PyDataset,
      defs = list(
        `__len__` = function(self) 4L,
        `__getitem__` = function(self, number) batch(number)
      )
    )
    datasets <- list(calling(batch, workers = 3L), written(workers = 3L))
    vapply(datasets, function(data) fit(model, data, epochs = 2, verbose = 0)$params$steps, 1L)
  }
  env <- c(callr::rcmd_safe_env(), session_backend)
  expect_identical(callr::r(steps, env = env, libpath = .libPaths(), timeout = 120), c(4L, 4L))
})
