skip_on_cran()

test_that("predictions in half precision are numbers", {
  keras$config$set_dtype_policy("mixed_bfloat16")
  on.exit(keras$config$set_dtype_policy("float32"))
  expect_equal(rowSums(predict(classifier(), iris_x, verbose = 0)), rep(1, 150), tolerance = 0.02)
})
