test_that("an installation without the Python core fails and says what is missing", {
  expect_error(
    kerasfit:::check_core_files(withr::local_tempdir()),
    "inst/python/kerasfit/__init__.py",
    fixed = TRUE
  )
  expect_silent(kerasfit:::check_core_files(system.file(package = "kerasfit")))
})

skip_on_cran()
skip_if_not_installed("callr")

test_that("library(kerasfit) loads neither Python nor reticulate, and tuple() is reticulate's", {
  found <- in_new_session(function() {
    library(kerasfit)
    before <- isNamespaceLoaded("reticulate")
    list(before, identical(tuple, reticulate::tuple), reticulate::py_require()$packages)
  })
  expect_false(found[[1]])
  expect_true(found[[2]])
  expect_match(found[[3]], "keras>=", all = FALSE)
})

test_that("kerasfit's methods replace those of keras3 while it is attached, without messages", {
  # a package named keras3 with methods for the same classes
  library_with_keras3 <- withr::local_tempdir()
  source <- file.path(withr::local_tempdir(), "keras3")
  dir.create(file.path(source, "R"), recursive = TRUE)
  writeLines(
    c(
      "Package: keras3",
      "Version: 1.0",
      "Title: T",
      "Description: D.",
      "License: MIT",
      "Imports: generics"
    ),
    file.path(source, "DESCRIPTION")
  )
  writeLines(
    c(
      "importFrom(generics, fit)",
      "export(evaluate, fit)",
      "S3method(generics::fit, keras.src.models.model.Model)",
      "S3method(print, keras_training_history)",
      "S3method(evaluate, keras.src.models.model.Model)"
    ),
    file.path(source, "NAMESPACE")
  )
  writeLines(
    c(
      "fit.keras.src.models.model.Model <- function(object, ...) 'keras3'",
      "evaluate <- function(object, ...) UseMethod('evaluate')",
      "evaluate.keras.src.models.model.Model <- function(object, ...) 'keras3'",
      "print.keras_training_history <- function(x, ...) cat('keras3')"
    ),
    file.path(source, "R", "all.R")
  )
  utils::install.packages(source, library_with_keras3, repos = NULL, type = "source", quiet = TRUE)

  for (order in list(c("kerasfit", "keras3"), c("keras3", "kerasfit"))) {
    answer <- in_new_session(
      function(order) {
        said <- character()
        withCallingHandlers(
          for (package in order) {
            library(package, character.only = TRUE, warn.conflicts = FALSE)
          },
          packageStartupMessage = function(m) {
            said <<- c(said, conditionMessage(m))
            invokeRestart("muffleMessage")
          }
        )
        model <- structure(
          list(),
          class = c("keras.src.models.model.Model", "keras.src.trainers.trainer.Trainer")
        )
        history <- structure(
          list(params = list(), metrics = list()),
          class = "keras_training_history"
        )
        ours <- history
        class(ours) <- c("kerasfit_history", class(ours))
        by_keras3 <- function(value) identical(try(value, silent = TRUE), "keras3")
        trained <- function() {
          c(
            fit = by_keras3(generics::fit(model, view_metrics = "no")),
            evaluate = by_keras3(keras3::evaluate(model, 1, 2, 3))
          )
        }
        attached <- trained()
        printed <- c(capture.output(print(ours)), capture.output(print(history)))
        schedule <- eval(
          formals(callback_learning_rate_scheduler)$first_epoch,
          asNamespace("kerasfit")
        )
        detach("package:kerasfit")
        list(
          said = said,
          attached = attached,
          detached = trained(),
          printed = printed,
          schedule = schedule
        )
      },
      args = list(order),
      libpath = c(library_with_keras3, .libPaths())
    )
    expect_identical(answer$attached, c(fit = FALSE, evaluate = FALSE))
    expect_identical(answer$detached, c(fit = TRUE, evaluate = TRUE))
    expect_match(answer$printed[[1]], "Training history")
    expect_identical(answer$printed[-1], "keras3")
    expect_length(answer$said, 1)
    expect_match(answer$said, "counts epochs from 0")
  }
})

test_that("histories made by keras3 are printed and plotted without it", {
  skip_if(nzchar(system.file(package = "keras3")), "keras3 is installed")
  history <- structure(
    list(params = list(), metrics = list(loss = c(3, 2))),
    class = "keras_training_history"
  )
  expect_output(print(history), "epochs 1 to 2")
  expect_identical(as.data.frame(history)$value, c(3, 2))
})
