skip_on_cran()

test_that("64-bit integers are accepted as numbers in every argument", {
  skip_if_not_installed("bit64")
  long <- function(...) bit64::as.integer64(c(...))
  values <- c(0, -1, 1, 2^31, -2^31, 2^32 - 1, 2^40 + 5, -2^40 - 5, NA)
  expect_identical(plain_numbers(list(long(values)))[[1]], values)

  weights <- long(1, 4, 2)
  names(weights) <- levels(iris_y)
  expected <- weights_after(
    classifier(),
    iris_x,
    iris_y,
    class_weight = c(setosa = 1, versicolor = 4, virginica = 2),
    batch_size = 30
  )
  counted <- weights_after(
    classifier(),
    iris_x,
    iris_y,
    class_weight = weights,
    batch_size = long(30),
    epochs = long(1),
    initial_epoch = long(1),
    steps_per_epoch = long(5)
  )
  expect_equal(counted, expected)
  one_by_one <- list(setosa = long(1), versicolor = long(4), virginica = long(2))
  expect_equal(
    weights_after(classifier(), iris_x, iris_y, class_weight = one_by_one, batch_size = 30),
    expected
  )
  codes <- as.integer(iris_y) - 1L
  validated <- lapply(list(codes, long(codes)), function(y) {
    fit(
      classifier(),
      iris_x,
      iris_y,
      validation_data = tuple(iris_x, y),
      verbose = 0,
      shuffle = FALSE
    )$metrics
  })
  expect_equal(validated[[2]], validated[[1]])
  stopping <- callback_early_stopping("loss", patience = long(3))
  expect_equal(stopping$patience, 3L)
  expect_error(
    fit(classifier(), iris_x, iris_y, epochs = long(NA)),
    "`epochs` must not be NA",
    class = "kerasfit_error_argument"
  )
})
