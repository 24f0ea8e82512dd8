if (requireNamespace("testthat", quietly = TRUE)) {
  library(testthat)
  library(kerasfit)

  test_check("kerasfit")
}
