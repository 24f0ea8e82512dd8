skip_on_cran()

test_that("evaluate() returns a named list and predict() an array with samples in rows", {
  model <- classifier()
  results <- evaluate(model, iris_x, iris_y, verbose = 0)
  expect_named(results, c("loss", "accuracy"))
  expect_type(results$accuracy, "double")
  probabilities <- predict(model, iris_x, verbose = 0)
  expect_identical(dim(probabilities), c(150L, 3L))
  expect_equal(rowSums(probabilities), rep(1, 150), tolerance = 1e-6)
  expect_equal(
    results$accuracy,
    mean(max.col(probabilities) == as.integer(iris_y)),
    tolerance = 1e-6
  )
  expect_equal(evaluate(model, x = iris_x, y = iris_y, verbose = 0), results)
  by_generics <- in_new_session(function() {
    library(kerasfit)
    model <- keras$Sequential(list(keras$layers$Dense(1L)))
    compile(model, "sgd", "mse")
    detach("package:kerasfit")
    generics::evaluate(model, matrix(1:10 / 10), 1:10, verbose = 0)
  })
  expect_named(by_generics, "loss")
  expect_error(evaluate("a model"), "no applicable method")
})
