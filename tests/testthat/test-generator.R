skip_on_cran()


test_that("NULL from an R function ends an epoch, and the next epoch calls it again", {
  expected <- weights_after(classifier(), iris_x, iris_y, batch_size = 30, epochs = 2)
  expect_equal(weights_after(classifier(), batches(), epochs = 2), expected)
  expect_equal(weights_after(classifier(), batches(as = tuple), epochs = 2), expected)
  history <- fit(classifier(), batches(), epochs = 2, verbose = 0)
  expect_identical(history$params$steps, 5L)
  expect_identical(history$params$samples, NA_integer_)
})

test_that("a Python generator trains and validates", {
  generator <- function() reticulate::py_iterator(batches())
  expected <- weights_after(classifier(), iris_x, iris_y, batch_size = 30)
  expect_equal(weights_after(classifier(), generator()), expected)
  history <- fit(classifier(), iris_x, iris_y, validation_data = batches(), epochs = 2, verbose = 0)
  expect_false(anyNA(history$metrics$val_loss))
})

test_that("a generator can yield weights and a factor in a list", {
  weighted <- function() {
    list(iris_x, iris_y, as.numeric(iris_y == "setosa"))
  }
  expect_equal(
    weights_after(classifier(), weighted, steps_per_epoch = 1),
    weights_after(
      classifier(),
      iris_x,
      iris_y,
      sample_weight = as.numeric(iris_y == "setosa"),
      batch_size = 150
    )
  )
})

test_that("a named list as a batch is all inputs, whatever its names", {
  inputs <- list(x = keras$Input(list(4L), name = "x"), y = keras$Input(list(1L), name = "y"))
  distance <- keras$layers$Dense(1L)(keras$layers$Concatenate()(list(inputs$x, inputs$y)))
  model <- keras$Model(inputs, distance)
  batch <- function() list(x = iris_x, y = iris_x[, 1, drop = FALSE])
  expect_identical(dim(predict(model, batch, steps = 1, verbose = 0)), c(150L, 1L))

  # with targets in a tuple
  compile(model, "sgd", "mse")
  with_targets <- function() tuple(batch(), iris_x[, 2])
  expect_length(fit(model, with_targets, steps_per_epoch = 2, verbose = 0)$metrics$loss, 1)
})

test_that("can_return_null() recognises functions that never return NULL", {
  never <- list(
    function() list(1, 2),
    function() {
      i <- sample(10, 2)
      list(i)
    },
    function() if (runif(1) > 0.5) list(1) else list(2)
  )
  may <- list(
    function() NULL,
    function() if (runif(1) > 0.5) list(1),
    function() {
      if (i > 3) {
        return(NULL)
      }
      list(1)
    },
    function() {
      if (i > 3) {
        return()
      }
      list(1)
    },
    function() {
      for (i in 1:3) {
        list(1)
      }
    },
    function() {}
  )
  for (f in never) {
    expect_false(can_return_null(f))
  }
  for (f in may) {
    expect_true(can_return_null(f))
  }
})
