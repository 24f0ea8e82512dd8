skip_on_cran()
skip_if_not_installed("callr")
skip_if_not_installed("globals")

with_dropout <- function(rate = 0.3) {
  set_random_seed(1)
  model <- keras$Sequential(list(
    keras$Input(list(4L)),
    keras$layers$Dense(8L, activation = "relu"),
    keras$layers$Dropout(rate),
    keras$layers$Dense(3L, activation = "softmax")
  ))
  compile(model, "adam", "sparse_categorical_crossentropy", metrics = "accuracy")
}

values <- function(history) history$metrics

test_that("fit_background() has the results of fit(), and puts them into the model", {
  there <- with_dropout()
  here <- with_dropout()
  fit(here, iris_x, iris_y, epochs = 2, verbose = 0)
  set_random_seed(2)
  history <- fit(here, iris_x, iris_y, epochs = 3, validation_split = 0.2, verbose = 0)

  set_random_seed(1)
  fit(there, iris_x, iris_y, epochs = 2, verbose = 0)
  set_random_seed(2)
  job <- fit_background(there, iris_x, iris_y, epochs = 3, validation_split = 0.2)
  expect_s3_class(job, "BackgroundFit")
  before <- there$get_weights()
  sent <- wait(job)

  expect_identical(values(sent), values(history))
  expect_identical(there$get_weights(), here$get_weights())
  expect_false(identical(before, there$get_weights()))
  expect_identical(there$optimizer$iterations$numpy(), here$optimizer$iterations$numpy())
  expect_identical(
    predict(there, iris_x, verbose = 0),
    predict(here, iris_x, verbose = 0)
  )
  expect_identical(job$status(), "ended")
  expect_identical(values(job$history()), values(history))
  expect_output(print(job), "ended, after epochs 1 to 3.*The model has its weights")
  expect_match(job$output(), "Epoch 3/3", all = FALSE)
  expect_identical(wait(job), sent)
  # and training goes on in the same way
  set_random_seed(3)
  one <- fit(here, iris_x, iris_y, epochs = 1, verbose = 0)
  set_random_seed(3)
  expect_identical(values(fit(there, iris_x, iris_y, epochs = 1, verbose = 0)), values(one))
})

test_that("R callbacks, generators and the variables that they use work in the other process", {
  file <- withr::local_tempfile()
  offset <- 100
  note <- function(epoch) cat(epoch + offset, "\n", file = file, append = TRUE)
  # testthat's environment of helpers is sent as the package's namespace, without the helpers
  next_batch <- local({
    x <- iris_x
    y <- iris_y
    function() list(x[1:30, ], y[1:30])
  })
  model <- classifier()
  job <- fit_background(
    model,
    next_batch,
    epochs = 3,
    steps_per_epoch = 5,
    callbacks = list(
      callback_early_stopping("loss", patience = 10),
      on_epoch_end = function(epoch, logs) note(epoch)
    ),
    verbose = 0
  )
  history <- wait(job)
  expect_length(history$metrics$loss, 3)
  expect_identical(trimws(readLines(file)), c("101", "102", "103"))
})

test_that("stop_training() stops after the current step, and wait() returns the history", {
  model <- classifier()
  job <- fit_background(model, iris_x, iris_y, epochs = 1e6, verbose = 0)
  expect_null(wait(job, timeout = 0.1))
  stop_training(job)
  history <- wait(job, timeout = 60)
  expect_identical(job$status(), "stopped")
  epochs <- length(history$metrics$loss)
  expect_lt(epochs, 1e6)
  expect_output(print(job), "stopped, after")
})

test_that("an error or a crash in the other process leaves the model unchanged", {
  model <- classifier()
  before <- model$get_weights()
  job <- fit_background(model, iris_x, iris_y[1:10], verbose = 0)
  error <- expect_error(wait(job), class = "kerasfit_error_data")
  expect_match(conditionMessage(error), "Training in the background failed")
  expect_match(conditionMessage(error), "`y` has 10")
  expect_identical(job$status(), "failed")

  job <- fit_background(model, iris_x, iris_y, epochs = 1e6, verbose = 0)
  while (job$status() != "training") {
    Sys.sleep(0.05)
  }
  expect_output(print(job), "Background fit: ")
  tools::pskill(job$.__enclos_env__$private$process$get_pid(), tools::SIGKILL)
  expect_error(wait(job), "ended with the exit status", class = "kerasfit_error")
  expect_identical(model$get_weights(), before)
})

test_that("wait() does not overwrite a model that was trained since", {
  model <- classifier()
  job <- fit_background(model, iris_x, iris_y, epochs = 2, verbose = 0)
  fit(model, iris_x, iris_y, verbose = 0)
  before <- model$get_weights()
  expect_error(wait(job), "trained or changed since", class = "kerasfit_error_state")
  expect_identical(model$get_weights(), before)
  other <- job$model()
  expect_false(identical(other$get_weights(), before))
  expect_identical(dim(predict(other, iris_x, verbose = 0)), c(150L, 3L))
})

test_that("code in the other process sees the variables that it would see here", {
  assign("kerasfit_k", 2, globalenv())
  evalq(kerasfit_g <- function() kerasfit_k, globalenv())
  withr::defer(rm(kerasfit_k, kerasfit_g, envir = globalenv()))
  model <- classifier()
  run <- function(callbacks) {
    fit_background(model, iris_x, iris_y, callbacks = callbacks, verbose = 0)
  }
  kerasfit_k <- 1
  job <- run(function() {
    list(on_epoch_end = function(epoch, logs) {
      cat(kerasfit_k, kerasfit_g(), "\n")
      cat(sum(abs(model$get_weights()[[1]])), "\n")
    })
  })
  wait(job)
  expect_identical(trimws(job$output())[1], "1 2")
  # in the function's own environment the model is a copy; in code of the argument it is the trained
  job <- fit_background(
    model,
    iris_x,
    iris_y,
    callbacks = list(on_train_end = function(logs) {
      cat(format(sum(abs(model$get_weights()[[1]])), digits = 6), "\n")
    }),
    verbose = 0
  )
  wait(job)
  expect_identical(
    trimws(job$output()),
    format(sum(abs(model$get_weights()[[1]])), digits = 6)
  )
})

test_that("what cannot be sent is an error that names it, before a process starts", {
  model <- classifier()
  expect_error(
    fit_background(model, reticulate::r_to_py(iris_x), iris_y),
    "`x` is a Python object",
    class = "kerasfit_error_argument"
  )
  stopping <- callback_early_stopping()
  expect_error(
    fit_background(model, iris_x, iris_y, callbacks = stopping),
    "`callbacks` uses `stopping`, which is a Python object",
    class = "kerasfit_error_argument"
  )
  expect_error(fit_background(model, iris_x, iris_y, epoch = 2), "no argument `epoch`")
  expect_error(fit_background(model, iris_x, iris_y, 2), "must be named")
  compile(model, "adam", loss = function(y_true, y_pred) keras$ops$mean(y_pred))
  expect_error(fit_background(model, iris_x, iris_y), "cannot be sent to another process")
  compile(model, "adam", "sparse_categorical_crossentropy")
  failing <- fit_background(model, iris_x, iris_y, callbacks = stop(""), verbose = 0)
  expect_error(wait(failing), "Training in the background failed")
  expect_error(wait(failing, timeout = "a"), "`timeout` must be", class = "kerasfit_error_argument")
  expect_error(wait(failing, verbose = NA), "`verbose` must be", class = "kerasfit_error_argument")
  expect_error(wait(1), "`job` must be a value of `fit_background\\(\\)`")
})
