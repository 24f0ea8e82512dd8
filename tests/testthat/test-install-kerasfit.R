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
