skip_on_cran()
skip_if_not_installed("callr")

test_that("child processes inherit only the environment variables listed on the help page", {
  cache <- withr::local_tempdir()
  changed <- function() {
    library(kerasfit)
    before <- Sys.getenv()
    keras$layers
    after <- Sys.getenv()
    ours <- grep("^(KERAS|JAX_|TF_XLA|TF_CPP)", names(after), value = TRUE)
    setdiff(ours, names(before)[before == after[names(before)]])
  }
  for (backend in c("tensorflow", if (tests_all) c("jax", "torch"))) {
    none <- c(
      TF_XLA_FLAGS = NA,
      JAX_COMPILATION_CACHE_DIR = NA,
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = NA,
      TF_CPP_MIN_LOG_LEVEL = NA,
      "_R_CHECK_PACKAGE_NAME_" = NA
    )
    found <- in_new_session(changed, c(KERAS_BACKEND = backend, KERASFIT_CACHE = cache, none))
    expect_identical(found, c("TF_CPP_MIN_LOG_LEVEL", if (backend == "tensorflow") "TF_XLA_FLAGS"))
  }
})

test_that("use_backend() chooses the backend before Keras loads", {
  for (backend in c("torch", if (tests_all) "jax")) {
    chosen <- in_new_session(
      function(backend) {
        library(kerasfit)
        use_backend(backend)
        model <- keras$Sequential(list(keras$layers$Dense(1L)))
        compile(model, "adam", "mse")
        history <- fit(
          model,
          matrix(rnorm(40), 20),
          rnorm(20),
          epochs = 3,
          validation_split = 0.2,
          verbose = 0
        )
        list(keras$backend$backend(), history$metrics)
      },
      c(KERAS_BACKEND = NA),
      list(backend)
    )
    expect_identical(chosen[[1]], backend)
    expect_identical(lengths(chosen[[2]]), c(loss = 3L, val_loss = 3L))
  }
})

test_that("use_backend() raises an error after Keras has loaded with another backend", {
  loaded <- keras$backend$backend()
  other <- setdiff(c("tensorflow", "jax"), loaded)[[1]]
  expect_error(
    use_backend(other),
    sprintf("Keras has already loaded with \"%s\"", loaded),
    class = "kerasfit_error_state"
  )
  expect_identical(use_backend(loaded), loaded)
  expect_error(use_backend("theano"), "must be one of", class = "kerasfit_error_argument")
})

test_that("the default backend is tensorflow", {
  backend <- function() {
    library(kerasfit)
    keras$backend$backend()
  }
  expect_identical(in_new_session(backend, c(KERAS_BACKEND = "")), "tensorflow")
})

test_that("loading declares the Python requirements of the backend", {
  required <- in_new_session(
    function() {
      library(kerasfit)
      before <- reticulate::py_require()$packages
      use_backend("jax", gpu = FALSE)
      hidden <- Sys.getenv("JAX_PLATFORMS")
      after <- reticulate::py_require()$packages
      use_backend("jax", gpu = TRUE)
      list(
        before,
        after,
        reticulate::py_require()$packages,
        hidden,
        Sys.getenv("JAX_PLATFORMS", "not set")
      )
    },
    c(KERAS_BACKEND = "", JAX_PLATFORMS = NA)
  )
  expect_true(all(
    c("keras>=3.9", "numpy>=1.26", "pandas>=2.0", "tensorflow>=2.17") %in% required[[1]]
  ))
  expect_true("jax>=0.5.3" %in% required[[2]])
  expect_false("tensorflow>=2.17" %in% required[[2]])
  if (Sys.info()[["sysname"]] == "Linux") {
    expect_true("jax[cuda12]>=0.5.3" %in% required[[3]])
  }
  expect_identical(required[4:5], list("cpu", "not set"))
  expect_error(
    use_backend("jax", gpu = "no"),
    "`gpu` must be TRUE, FALSE or NA",
    class = "kerasfit_error_argument"
  )
})
