# How the package is installed.

test_that("an installation without the core fails and says what is missing", {
  expect_error(kerasfit:::check_core_files(withr::local_tempdir()), "inst/python/kerasfit/__init__.py", fixed = TRUE)
  expect_silent(kerasfit:::check_core_files(system.file(package = "kerasfit")))
})
