a_mistake <- function() {
  history <- a_history(list(loss = c(3, 2)))
  plot(
    history,
    metrics = "accuracy",
    xlab = "a label that makes the call long",
    ylab = "another one"
  )
}

test_that("an error has the call of the user's function, without its arguments", {
  error <- expect_error(a_mistake(), class = "kerasfit_error_argument")
  expect_s3_class(error, "rlang_error")
  expect_identical(conditionCall(error), quote(plot()))
  expect_match(
    format(error),
    "Error in `plot()`:\n! `metrics` contains \"accuracy\"",
    fixed = TRUE,
    all = FALSE
  )
  calls <- list(
    quote(use_backend("abacus")),
    quote(kerasfit::use_backend("abacus")),
    quote(training_histories(1)),
    quote(Callback(3)),
    quote(install_kerasfit(backend = "abacus"))
  )
  for (call in calls) {
    error <- expect_error(eval(call), class = "kerasfit_error_argument")
    expect_identical(conditionCall(error), call[1])
  }
  error <- expect_error(do.call(training_histories, list(1)), class = "kerasfit_error_argument")
  expect_null(conditionCall(error))
})

test_that("the backtrace of an error ends with the user's call", {
  error <- expect_error(a_mistake(), class = "kerasfit_error_argument")
  trace <- format(error)
  expect_match(trace, "plot.keras_training_history", fixed = TRUE, all = FALSE)
  expect_no_match(trace, "abort_", fixed = TRUE)
})

test_that("an uncaught error is formatted, and rlang::last_error() returns it", {
  skip_if_not_installed("callr")
  script <- withr::local_tempfile(fileext = ".R")
  writeLines(
    c(
      "library(kerasfit)",
      "options(error = quote({ cat(class(rlang::last_error())[1], '\\n'); q('no', 3) }))",
      "history <- structure(list(params = list(), metrics = list(loss = c(3, 2))),",
      "  class = 'keras_training_history')",
      "plot(history, history, xlab = 'a label that makes the call long', ylab = 'another one')"
    ),
    script
  )
  said <- callr::rscript(script, show = FALSE, fail_on_status = FALSE)
  expect_identical(said$status, 3L)
  expect_match(said$stdout, "kerasfit_error_argument")
  expect_match(said$stderr, "Error in `plot()`:\n! `y` must be missing", fixed = TRUE)
})

test_that("errors of the core and of Python have the user's call", {
  skip_on_cran()
  model <- regressor()
  for (x in list(iris_x[1:3, ], iris_x[, 1:2])) {
    error <- expect_error(fit(model, x, iris_x[, 1], verbose = 0), class = "kerasfit_error")
    expect_identical(conditionCall(error), quote(fit()))
  }
  error <- expect_error(predict(model, "a"), class = "kerasfit_error")
  expect_identical(conditionCall(error), quote(predict()))
  error <- expect_error(compile(model, "abacus"), class = "kerasfit_error")
  expect_identical(conditionCall(error), quote(compile()))
})

skip_on_cran()

test_that("an empty argument after the last comma is ignored", {
  model <- classifier()
  expect_s3_class(fit(model, iris_x, iris_y, verbose = 0, ), "keras_training_history")
  expect_s3_class(fit(model, iris_x, iris_y, , verbose = 0), "keras_training_history")
  expect_named(evaluate(model, iris_x, iris_y, verbose = 0, ), c("loss", "accuracy"))
  expect_identical(dim(predict(model, iris_x, verbose = 0, )), c(150L, 3L))
  expect_error(fit(model, iris_x, iris_y, , 3), "must be named", class = "kerasfit_error_argument")
})
