skip_on_cran()
skip_if_not_installed("callr")

train <- function(...) {
  fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 4,
    validation_split = 0.2,
    validation_freq = 2,
    verbose = 0,
    ...
  )
}

test_that("callback_max_time() accepts a difftime", {
  expect_identical(callback_max_time(as.difftime(2, units = "hours"))$seconds, 7200)
})

test_that("callbacks limit time, find rates, run a cycle, profile and set progress", {
  model <- classifier()
  fit(model, iris_x, iris_y, verbose = 0) # compile first, which may take longer than the limit
  many <- fit(model, iris_x, iris_y, epochs = 1e6, callbacks = callback_max_time(2), verbose = 0)
  expect_gt(length(many$params$epoch), 2)

  finder <- callback_lr_finder(max_lr = 10)
  expect_error(plot(finder), "nothing to plot yet", class = "kerasfit_error_state")
  fit(classifier(), iris_x, iris_y, epochs = 20, callbacks = finder, verbose = 0)
  steps <- as.data.frame(finder)
  expect_named(steps, c("learning_rate", "loss", "smoothed"))
  expect_gt(finder$suggestion, 1e-7)
  expect_s3_class(plot(finder), "ggplot")

  fit(classifier(), iris_x, iris_y, epochs = 2, callbacks = callback_one_cycle(0.1), verbose = 0)

  profile <- callback_profile()
  fit(classifier(), iris_x, iris_y, epochs = 3, callbacks = profile, verbose = 0)
  expect_named(
    as.data.frame(profile),
    c("epoch", "data", "steps", "callbacks", "validation", "other")
  )
  expect_output(print(profile), "Time spent in 3 epochs: [0-9.e-]+ seconds\ndata ")

  style <- callback_progress("accuracy", digits = 1, every = 2)
  expect_output(
    fit(classifier(), iris_x, iris_y, epochs = 3, callbacks = style, verbose = 2),
    "^Epoch 2/3 - [^\n]+ - accuracy: [0-9]\\.[0-9]\nEpoch 3/3[^\n]*$"
  )
  expect_error(
    callback_max_time("long"),
    "`seconds` must be a number above 0",
    class = "kerasfit_error_argument"
  )
})

test_that("callback_log() writes CSV with all columns and can append to a file", {
  file <- withr::local_tempfile(fileext = ".csv")
  history <- train(callbacks = callback_log(file))
  written <- read.csv(file)
  expect_named(written, c("epoch", "seconds", names(history$metrics)))
  expect_identical(written$epoch, 1:4)
  expect_equal(written$val_loss, history$metrics$val_loss)
  expect_true(all(diff(c(0, written$seconds)) >= 0))
  train(callbacks = callback_log(file, append = TRUE))
  expect_identical(read.csv(file)$epoch, rep(1:4, 2))
  train(callbacks = callback_log(file))
  expect_identical(nrow(read.csv(file)), 4L)
})

test_that("callback_log() writes JSON lines", {
  skip_if_not_installed("jsonlite")
  file <- withr::local_tempfile(fileext = ".jsonl")
  history <- train(callbacks = callback_log(file))
  rows <- lapply(readLines(file), jsonlite::fromJSON)
  expect_equal(vapply(rows, function(row) row$loss, 1), history$metrics$loss)
  expect_identical(
    lapply(rows, function(row) "val_loss" %in% names(row)),
    list(FALSE, TRUE, FALSE, TRUE)
  )
})

test_that("a file that cannot be written is an error before training", {
  model <- classifier()
  before <- model$get_weights()
  expect_error(
    fit(model, iris_x, iris_y, callbacks = callback_log("/nonexistent/file.csv"), verbose = 0),
    "file.csv cannot be written: No such file",
    class = "kerasfit_error_argument"
  )
  expect_identical(model$get_weights(), before)
  expect_error(
    callback_log(3),
    "`filename` must be the path of a file",
    class = "kerasfit_error_argument"
  )
})
