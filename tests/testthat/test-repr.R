skip_on_cran()

test_that("Jupyter shows a picture of a history", {
  skip_if_not_installed("repr")
  picture <- repr::repr_png(a_history(list(loss = 3:1)))
  expect_identical(picture[2:4], charToRaw("PNG"))
  expect_null(repr::repr_png(a_history(list(), epoch = integer())))
})
