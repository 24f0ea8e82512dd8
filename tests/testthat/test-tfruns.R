skip_on_cran()
skip_if_not_installed("callr")

test_that("an active tfruns run gets the parameters, the model and the metrics", {
  # a package with the name and interface of tfruns, which is not on every machine
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
      "write_run_metadata <- function(type, data, run_dir = NULL)",
      "  kept$told <- c(kept$told, list(list(type = type, data = data)))"
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
