skip_on_cran()

test_that("a vector of targets is a column for losses and metrics written in R", {
  two_outputs <- function(loss, ...) {
    set_random_seed(1)
    x <- keras$Input(list(4L))
    model <- keras$Model(x, list(a = keras$layers$Dense(1L)(x), b = keras$layers$Dense(1L)(x)))
    compile(model, "sgd", loss, ...)
  }
  error <- function(y_true, y_pred) keras$ops$mean(keras$ops$square(y_true - y_pred), axis = -1L)
  whole <- function(y_true, y_pred) keras$ops$mean(keras$ops$square(y_true - y_pred))
  Whole <- reticulate::PyClass(
    "Whole",
    inherit = keras$losses$Loss,
    defs = list(
      call = function(self, y_true, y_pred) {
        keras$ops$mean(keras$ops$square(y_true - y_pred), axis = -1L)
      }
    )
  )
  y <- list(a = iris_x[, 1], b = iris_x[, 2])
  expected <- evaluate(two_outputs("mse"), iris_x, y, verbose = 0)
  for (loss in list(error, whole, list(a = error, b = whole), Whole())) {
    model <- two_outputs(loss, metrics = list(a = whole))
    expect_equal(evaluate(model, iris_x, y, verbose = 0)$loss, expected$loss, tolerance = 1e-5)
    batches <- function() list(iris_x, y)
    expect_equal(
      evaluate(model, batches, steps = 1, verbose = 0)$loss,
      expected$loss,
      tolerance = 1e-5
    )
  }
})

test_that("an R function can be a loss and a metric", {
  absolute <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred), axis = -1L)
  with_r <- compile(regressor(), "sgd", absolute, metrics = list(absolute))
  with_keras <- compile(regressor(), "sgd", "mae", metrics = "mae")
  y <- matrix(iris_x[, 1])
  ours <- fit(with_r, iris_x, y, shuffle = FALSE, verbose = 0)
  theirs <- fit(with_keras, iris_x, y, shuffle = FALSE, verbose = 0)
  expect_equal(ours$metrics$loss, theirs$metrics$loss)
  expect_equal(ours$metrics[[2]], theirs$metrics$mae)
})

test_that("metrics that are R functions have their names in the list", {
  absolute <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred), axis = -1L)
  y <- matrix(iris_x[, 1])
  model <- compile(
    regressor(),
    "sgd",
    "mse",
    metrics = list(first = absolute, second = absolute, "mae")
  )
  expect_setequal(
    names(fit(model, iris_x, y, verbose = 0)$metrics),
    c("loss", "first", "second", "mae")
  )
  inputs <- keras$Input(tuple(4L))
  model <- keras$Model(
    inputs,
    list(keras$layers$Dense(1L, name = "a")(inputs), keras$layers$Dense(1L, name = "b")(inputs))
  )
  compile(
    model,
    "sgd",
    list(a = "mse", b = "mse"),
    metrics = list(a = list(own = absolute), b = "mae")
  )
  expect_true(all(
    c("a_own", "b_mae") %in% names(fit(model, iris_x, list(y, y), verbose = 0)$metrics)
  ))
})

test_that("a Python metric that calls an R function gets targets as columns too", {
  error <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred), axis = -1L)
  code <- paste(
    "def wrap(r_function):",
    "  def wrapped(y_true, y_pred):",
    "    return r_function(y_true, y_pred)",
    "  return wrapped",
    sep = "\n"
  )
  wrapped <- reticulate::py_run_string(code, local = TRUE, convert = TRUE)$wrap(error)
  model <- compile(regressor(), "sgd", "mse", metrics = list(error, wrapped, "mae"))
  results <- evaluate(model, iris_x, iris_x[, 1], verbose = 0)
  expect_equal(results[[2]], results$mae, tolerance = 1e-5)
  expect_equal(results$wrapped, results$mae, tolerance = 1e-5)
})

test_that("an R function as loss or metric has the name of its variable, also in a saved model", {
  my_error <- function(y_true, y_pred) keras$ops$mean(keras$ops$square(y_true - y_pred), axis = -1L)
  of_compiled <- function(model) setdiff(names(evaluate(model, iris_x, y, verbose = 0)), "loss")
  y <- matrix(iris_x[, 1])
  model <- regressor()
  expect_identical(of_compiled(compile(model, "sgd", "mse", metrics = my_error)), "my_error")
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = list("mae", my_error))),
    c("mae", "my_error")
  )
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = function(y_true, y_pred) y_pred)),
    "custom_metric"
  )
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = list(function(y_true, y_pred) y_pred))),
    "custom_metric_1"
  )
  several <- list(my_error, structure(my_error, py_function_name = "second"))
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = several)),
    c("custom_metric_1", "second")
  )

  file <- withr::local_tempfile(fileext = ".keras")
  for (metrics in list(list(my_error = my_error), list("Error, mine" = my_error))) {
    compile(model, "sgd", my_error, metrics = metrics)
    model$save(file)
    loaded <- keras$models$load_model(
      file,
      custom_objects = list(my_error = my_error, Error_mine = my_error)
    )
    values <- lapply(list(loaded, model), function(model) {
      unlist(evaluate(model, iris_x, y, verbose = 0))
    })
    expect_equal(unname(values[[1]]), unname(values[[2]]), tolerance = 1e-6)
  }
})

test_that("names of functions are the same in a session that supports only ASCII", {
  skip_unless_all()
  losses <- in_new_session(env = c(LC_ALL = "C"), function() {
    library(kerasfit)
    inputs <- lapply(c("l\u00e4nge", "b"), function(name) keras$Input(list(1L), name = name))
    model <- keras$Model(inputs, keras$layers$Dense(2L)(keras$layers$concatenate(inputs)))
    compile(model, "sgd", keras$losses$SparseCategoricalCrossentropy(from_logits = TRUE))
    x <- stats::setNames(list(1:4, 4:1), c("l\u00e4nge", "b"))
    y <- factor(c("\u00e4", "b", "b", "\u00e4"))
    fit(model, x, y, class_weight = stats::setNames(2, levels(y)[[1]]), verbose = 0)$metrics$loss
  })
  expect_length(losses, 1)
})

test_that("a metric in R may have any name, and gets targets with the rank of the outputs", {
  model <- regressor()
  of_all <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred))
  compile(
    model,
    "sgd",
    "mse",
    metrics = list("MAE, mine" = of_all, plain = of_all, "mae"),
    weighted_metrics = list(R2 = of_all)
  )
  y <- iris_x[, 1]
  values <- evaluate(model, iris_x, y, batch_size = 150, verbose = 0)
  expect_named(values, c("loss", "MAE, mine", "plain", "mae", "R2"), ignore.order = TRUE)
  for (name in c("MAE, mine", "plain", "R2")) {
    expect_equal(values[[name]], values$mae, tolerance = 1e-5)
  }
  history <- fit(
    model,
    iris_x,
    y,
    verbose = 0,
    callbacks = callback_early_stopping("MAE, mine", mode = "min")
  )
  expect_true("MAE, mine" %in% names(history$metrics))
})

test_that("compile() returns the model and accepts a vector of metrics", {
  model <- regressor()
  expect_identical(
    withVisible(compile(model, "adam", "mse", metrics = c("mae", "mape")))$visible,
    FALSE
  )
  expect_named(evaluate(model, iris_x, iris_x[, 1], verbose = 0), c("loss", "mae", "mape"))
})

test_that("compiling again replaces the metrics", {
  metrics_of <- function(model) {
    setdiff(names(fit(model, iris_x, iris_x[, 1], verbose = 0)$metrics), "loss")
  }
  model <- compile(
    regressor(),
    "sgd",
    "mse",
    metrics = list(failing = function(y_true, y_pred) stop("no idea"))
  )
  expect_error(metrics_of(model), "no idea", class = "kerasfit_error_user")
  expect_length(metrics_of(compile(model, "sgd", "mse")), 0)
  expect_identical(metrics_of(compile(model, "sgd", "mse", metrics = "mae")), "mae")
  expect_error(
    compile(model, list(class_name = "SGD", config = list(abacus = 1))),
    class = "kerasfit_error"
  )
  expect_identical(metrics_of(model), "mae") # a failed compile() changes nothing
  expect_identical(metrics_of(compile(model, "sgd", "mse", weighted_metrics = "mape")), "mape")
  expect_length(metrics_of(compile(model, "sgd", "mse", metrics = NULL)), 0)
})

test_that("a model class with its own compile() gets its arguments", {
  reticulate::py_run_string(
    "
import keras
class OwnCompile(keras.Sequential):
    def compile(self, critic_optimizer, loss):
        super().compile(loss=loss)
        self.critic_optimizer = critic_optimizer
"
  )
  model <- reticulate::py$OwnCompile(list(keras$Input(list(4L)), keras$layers$Dense(1L)))
  compile(model, loss = "mse", critic_optimizer = "adam")
  expect_identical(model$critic_optimizer, "adam")
  expect_length(fit(model, iris_x, iris_x[, 1], verbose = 0)$metrics$loss, 1)
})
