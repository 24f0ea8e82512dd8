# What other tools are told of training.

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

test_that("callback_log() writes CSV with all columns, and goes on with a file", {
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

test_that("a file that cannot be written is told before training", {
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

test_that("an active run of tfruns gets parameters, the model and the metrics by its documented functions", {
  # tfruns itself is not on every machine: a package of its name, with its documented interface, keeps what it is told
  dir <- withr::local_tempdir()
  package <- file.path(dir, "tfruns")
  dir.create(file.path(package, "R"), recursive = TRUE)
  writeLines(
    c("Package: tfruns", "Version: 0.0.1", "Title: Fake", "License: none"),
    file.path(package, "DESCRIPTION")
  )
  writeLines(
    "export(is_run_active, run_dir, write_run_metadata, told)",
    file.path(package, "NAMESPACE")
  )
  writeLines(
    c(
      "kept <- new.env()",
      "is_run_active <- function() TRUE",
      "told <- function() kept$told",
      "run_dir <- function() Sys.getenv('FAKE_RUN')",
      "write_run_metadata <- function(type, data, run_dir = NULL) kept$told <- c(kept$told, list(list(type = type, data = data)))"
    ),
    file.path(package, "R", "tfruns.R")
  )
  library <- file.path(dir, "library")
  dir.create(library)
  utils::install.packages(package, library, repos = NULL, type = "source", quiet = TRUE)
  told <- in_new_session(
    function() {
      library(kerasfit)
      loadNamespace("tfruns")
      model <- keras$Sequential(list(keras$layers$Dense(1L)))
      compile(model, "sgd", "mse")
      fit(
        model,
        matrix(1:20 / 20),
        1:20 / 20,
        epochs = 3,
        validation_split = 0.2,
        validation_freq = 2,
        verbose = 0
      )
      evaluate(model, matrix(1:20 / 20), 1:20 / 20, verbose = 0)
      asNamespace("tfruns")$told()
    },
    libpath = c(library, .libPaths()),
    env = c(FAKE_RUN = dir)
  )
  metrics <- Filter(function(entry) entry$type == "metrics", told)
  expect_length(metrics, 3)
  expect_identical(lapply(metrics, function(entry) sum(!is.na(entry$data$loss))), list(1L, 2L, 3L))
  expect_identical(is.na(metrics[[3]]$data$val_loss), c(TRUE, FALSE, TRUE))
  properties <- do.call(
    c,
    lapply(Filter(function(entry) entry$type == "properties", told), `[[`, "data")
  )
  expect_identical(
    properties[c("epochs", "optimizer", "loss_function")],
    list(epochs = 3, optimizer = "sgd", loss_function = "mse")
  )
  expect_equal(properties$learning_rate, 0.01, tolerance = 1e-6)
  expect_match(properties$model, "Dense")
  evaluation <- Filter(function(entry) entry$type == "evaluation", told)
  expect_identical(lapply(evaluation, function(entry) names(entry$data)), list("loss"))
  expect_identical(properties[[length(properties)]], 3L)
})
