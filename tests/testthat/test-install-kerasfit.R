installed <- function(exists, ...) {
  calls <- list()
  replaced <- list(
    virtualenv_exists = function(...) exists,
    virtualenv_create = function(...) calls$create <<- list(...),
    virtualenv_install = function(...) calls$install <<- list(...)
  )
  of_reticulate <- function(package, name) {
    name <- as.character(substitute(name))
    if (is.null(replaced[[name]])) {
      getExportedValue(as.character(substitute(package)), name)
    } else {
      replaced[[name]]
    }
  }
  # local_mocked_bindings() needs a newer testthat than the one in Debian 12
  install <- install_kerasfit
  environment(install) <- rlang::env(environment(install_kerasfit), `::` = of_reticulate)
  calls$value <- suppressMessages(install(...))
  calls
}

test_that("install_kerasfit() creates an environment with the core's packages and the backends", {
  calls <- installed(FALSE, "mine", c("jax", "torch"), extra_packages = "scipy")
  expect_identical(calls$create[[1]], "mine")
  expect_identical(calls$value, "mine")
  expect_identical(calls$install[[1]], "mine")
  expect_true(all(
    c(core_packages, backend_packages[c("jax", "torch")], "scipy") %in% calls$install[[2]]
  ))
  expect_false(backend_packages[["tensorflow"]] %in% calls$install[[2]])
})

test_that("install_kerasfit() adds to an existing environment and rejects unknown backends", {
  expect_null(installed(TRUE, "mine")$create)
  expect_error(install_kerasfit(backend = "abacus"), class = "kerasfit_error_argument")
})

test_that("install_kerasfit() installs packages for GPUs, where a backend has them", {
  skip_if_not(Sys.info()[["sysname"]] == "Linux")
  calls <- installed(FALSE, "mine", c("tensorflow", "jax"), device = "gpu")
  expect_true(all(c("tensorflow[and-cuda]>=2.17", "jax[cuda12]>=0.5.3") %in% calls$install[[2]]))
  expect_error(install_kerasfit(device = "abacus"), class = "kerasfit_error_argument")
})

test_that("packages for GPUs that a system lacks are an error that says what to do", {
  expect_null(check_gpu_packages(c("jax", "torch", "tensorflow"), "Linux"))
  expect_null(check_gpu_packages("torch", "Darwin"))
  expect_error(check_gpu_packages("jax", "Darwin"), "WSL2", class = "kerasfit_error_argument")
  expect_error(check_gpu_packages("torch", "Windows"), "--extra-index-url", fixed = TRUE)
})
