# How the package is installed, and Python for it: with reticulate's functions replaced, so that nothing is.

test_that("an installation without the core fails and says what is missing", {
  expect_error(
    kerasfit:::check_core_files(withr::local_tempdir()),
    "inst/python/kerasfit/__init__.py",
    fixed = TRUE
  )
  expect_silent(kerasfit:::check_core_files(system.file(package = "kerasfit")))
})

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
  # local_mocked_bindings() needs a newer testthat than Debian 12 has
  install <- install_kerasfit
  environment(install) <- rlang::env(environment(install_kerasfit), `::` = of_reticulate)
  calls$value <- suppressMessages(install(...))
  calls
}

test_that("install_kerasfit() makes an environment where there is none, with the core's needs and the backends", {
  calls <- installed(FALSE, "mine", c("jax", "torch"), extra_packages = "scipy")
  expect_identical(calls$create[[1]], "mine")
  expect_identical(calls$value, "mine")
  expect_identical(calls$install[[1]], "mine")
  expect_true(all(
    c(core_packages, backend_packages[c("jax", "torch")], "scipy") %in% calls$install[[2]]
  ))
  expect_false(backend_packages[["tensorflow"]] %in% calls$install[[2]])
})

test_that("install_kerasfit() adds to an environment that exists, and refuses a backend that does not", {
  expect_null(installed(TRUE, "mine")$create)
  expect_error(install_kerasfit(backend = "abacus"), class = "kerasfit_error_argument")
})
