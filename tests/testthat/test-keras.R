skip_on_cran()
skip_if_not_installed("callr")

test_that("Python loads nothing before it is needed", {
  loaded <- in_new_session(function() {
    library(kerasfit)
    keras
    tuple
    reticulate::py_available()
  })
  expect_false(loaded)
})

test_that("examples start Python only in interactive sessions and for developers", {
  answer <- function() c(kerasfit:::has_keras(), reticulate::py_available())
  expect_identical(in_new_session(answer, c(NOT_CRAN = "")), c(FALSE, FALSE))
  expect_identical(in_new_session(answer, c(NOT_CRAN = "true")), c(TRUE, TRUE))
  expect_identical(
    in_new_session(answer, c(NOT_CRAN = "true", RETICULATE_PYTHON = "/nonexistent")),
    c(FALSE, FALSE)
  )
})

test_that("nothing loads before it is needed if Python is running, and use_backend() works", {
  cache <- withr::local_tempdir()
  answer <- in_new_session(
    function() {
      modules <- function() names(reticulate::import("sys")$modules)
      reticulate::py_run_string("x = 1")
      library(kerasfit)
      before <- "keras" %in% modules()
      use_backend("jax")
      list(before, keras$backend$backend(), Sys.getenv("KERASFIT_CACHE"))
    },
    c(KERAS_BACKEND = NA, KERASFIT_CACHE = cache, "_R_CHECK_PACKAGE_NAME_" = NA)
  )
  expect_identical(answer, list(FALSE, "jax", cache))
})

test_that("a Keras that cannot be loaded is an error that says why, at each attempt", {
  for (python_first in c(FALSE, TRUE)) {
    error <- in_new_session(
      function(python_first) {
        if (python_first) {
          reticulate::py_run_string("x = 1")
        }
        library(kerasfit)
        try(keras$layers, silent = TRUE)
        tryCatch(keras$layers, error = identity)
      },
      c(KERAS_BACKEND = "abacus"),
      list(python_first)
    )
    expect_s3_class(error, "kerasfit_error_python")
    expect_match(
      conditionMessage(error),
      'cannot be loaded with the backend "abacus": .*install_kerasfit'
    )
    expect_match(error$python_traceback, "abacus")
  }
})

test_that("PyTorch uses its own BLAS, and a warning says if it cannot", {
  skip_if_not(Sys.info()[["sysname"]] == "Linux")
  skip_unless_all()
  # the library from which the linker took `sgemm_` for PyTorch
  bindings <- function(code) {
    log <- withr::local_tempfile()
    in_new_session(code, c(KERAS_BACKEND = "torch", LD_DEBUG = "bindings", LD_DEBUG_OUTPUT = log))
    lines <- unlist(lapply(Sys.glob(paste0(log, ".*")), readLines))
    grep("binding file [^ ]*/libtorch_cpu.so .*`sgemm_'", lines, value = TRUE)
  }
  early <- bindings(function() {
    library(kerasfit)
    reticulate::import("torch")
    keras$layers
  })
  expect_match(early, "to [^ ]*/libtorch_cpu.so ")
  late <- in_new_session(
    function() {
      reticulate::import("torch")
      library(kerasfit)
      tryCatch(keras$layers, warning = conditionMessage)
    },
    c(KERAS_BACKEND = "torch")
  )
  skip_if(grepl("libRblas", extSoftVersion()[["BLAS"]]), "R's own BLAS, which has no such function")
  expect_match(late, "PyTorch was loaded before kerasfit and uses R's BLAS")
})

test_that("Keras loads without output on the console", {
  script <- withr::local_tempfile(fileext = ".R")
  writeLines("library(kerasfit); invisible(keras$Sequential())", script)
  err <- withr::local_tempfile()
  rscript_as_user(script, stdout = err, stderr = "2>&1")
  expect_identical(readLines(err), character())
})

test_that("compiled programs are stored where the option says, and nowhere if it is FALSE", {
  train <- function(cache) {
    options(
      kerasfit.cache = cache,
      kerasfit.plan = if (Sys.getenv("KERAS_BACKEND") == "tensorflow") "xla" else "auto"
    )
    library(kerasfit)
    model <- keras$Sequential(list(keras$layers$Dense(1L)))
    compile(model, "sgd", "mse")
    fit(model, matrix(1:20 / 20), 1:20 / 20, verbose = 0)
    Sys.getenv("KERASFIT_CACHE")
  }
  cache <- withr::local_tempdir()
  for (backend in c("jax", if (tests_all) "tensorflow")) {
    # child processes inherit the environment of this session's Python
    inherited <- c(TF_XLA_FLAGS = "", JAX_COMPILATION_CACHE_DIR = NA, "_R_CHECK_PACKAGE_NAME_" = NA)
    in_new_session(train, c(KERAS_BACKEND = backend, inherited), list(cache))
    expect_gt(length(list.files(cache, pattern = "cache", recursive = TRUE)), 0)
    unlink(list.files(cache, full.names = TRUE), recursive = TRUE)
  }
  expect_identical(in_new_session(train, args = list(FALSE)), "")
})

test_that("a cache that others can write to is not used, with one warning", {
  skip_on_os("windows")
  cache <- withr::local_tempdir()
  Sys.chmod(cache, "0777", use_umask = FALSE)
  said <- in_new_session(
    function(cache) {
      options(kerasfit.cache = cache)
      library(kerasfit)
      said <- character()
      withCallingHandlers(
        for (i in 1:2) {
          model <- keras$Sequential(list(keras$layers$Dense(1L)))
          compile(model, "sgd", "mse")
          history <- fit(model, matrix(1:20 / 20), 1:20 / 20, verbose = 0)
          stopifnot(is.finite(history$metrics$loss))
        },
        kerasfit_warning = function(warning) {
          said <<- c(said, conditionMessage(warning))
          invokeRestart("muffleWarning")
        }
      )
      said
    },
    c(KERAS_BACKEND = "jax", JAX_COMPILATION_CACHE_DIR = NA, "_R_CHECK_PACKAGE_NAME_" = NA),
    list(cache)
  )
  expect_length(said, 1)
  expect_match(said, "other users may write")
  expect_match(said, basename(cache), fixed = TRUE)
  expect_length(list.files(cache, all.files = TRUE, no.. = TRUE), 0)
})
