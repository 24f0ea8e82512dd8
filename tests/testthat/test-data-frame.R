skip_on_cran()

test_that("a data frame or tibble of numbers is used as a matrix", {
  expected <- weights_after(classifier(), iris_x, iris_y)
  frame <- iris[iris_rows, 1:4]
  expect_equal(weights_after(classifier(), frame, iris_y), expected)
  skip_if_not_installed("tibble")
  expect_equal(weights_after(classifier(), tibble::as_tibble(frame), iris_y), expected)
  batches <- function() list(frame, iris_y)
  expect_equal(
    weights_after(classifier(), batches, steps_per_epoch = 2),
    weights_after(classifier(), iris_x, iris_y, batch_size = 150, epochs = 2)
  )
})

test_that("an arrow table is converted by as.data.frame()", {
  # arrow is rarely installed
  table <- structure(list(iris[iris_rows, 1:4]), class = c("Table", "ArrowTabular"))
  as_data_frame <- function(x, ...) x[[1]]
  registerS3method("as.data.frame", "ArrowTabular", as_data_frame, envir = baseenv())
  expect_equal(
    weights_after(classifier(), table, iris_y),
    weights_after(classifier(), iris_x, iris_y)
  )
})

test_that("columns of a data frame go to the inputs of the same name", {
  two_inputs <- function() {
    set_random_seed(1)
    kind <- keras$Input(list(1L), name = "kind", dtype = "int32")
    size <- keras$Input(list(1L), name = "size")
    embedded <- keras$layers$Flatten()(keras$layers$Embedding(3L, 2L)(kind))
    model <- keras$Model(
      list(size, kind),
      keras$layers$Dense(1L)(keras$layers$Concatenate()(list(embedded, size)))
    )
    compile(model, "sgd", "mse")
  }
  frame <- data.frame(kind = iris_y, size = iris_x[, 1])
  by_hand <- list(size = iris_x[, 1, drop = FALSE], kind = as.matrix(as.integer(iris_y) - 1L))
  expect_equal(
    weights_after(two_inputs(), frame, iris_x[, 2]),
    weights_after(two_inputs(), by_hand, iris_x[, 2])
  )
  expect_error(
    fit(two_inputs(), frame["size"], iris_x[, 2]),
    "without the column `kind`",
    class = "kerasfit_error_data"
  )
})

test_that("an error about a column names the column", {
  error <- expect_error(fit(classifier(), iris[2:5], iris$Species), class = "kerasfit_error_data")
  expect_match(conditionMessage(error), "`x$Species` is a factor", fixed = TRUE)
  expect_match(conditionMessage(error), "model.matrix()", fixed = TRUE)
  expect_equal(error$argument, "x")
  dated <- data.frame(day = Sys.Date() + 0:2, when = 1:3)
  expect_error(
    fit(classifier(), dated, 0:2),
    "`x\\$day` is an object of class Date",
    class = "kerasfit_error_data"
  )
  holes <- iris[1:4]
  holes[2:4, 3] <- NA
  expect_error(
    fit(classifier(), holes, iris$Species),
    "`x\\$Petal.Length` has 3 missing values",
    class = "kerasfit_error_data"
  )
})

test_that("a matrix in a data frame goes to the input and the output of its name", {
  a <- keras$Input(list(3L), name = "a")
  b <- keras$Input(list(1L), name = "b")
  both <- keras$layers$concatenate(list(a, b))
  u <- keras$layers$Dense(2L, name = "u")(both)
  model <- compile(
    keras$Model(list(a, b), list(u = u, v = keras$layers$Dense(1L, name = "v")(both))),
    "sgd",
    "mse"
  )
  x <- data.frame(b = iris_x[, 4])
  x$a <- iris_x[, 1:3]
  y <- data.frame(v = iris_x[, 4], u = I(iris_x[, 1:2]))
  by_hand <- list(
    list(a = iris_x[, 1:3], b = iris_x[, 4, drop = FALSE]),
    list(u = iris_x[, 1:2], v = iris_x[, 4])
  )
  expect_equal(
    evaluate(model, x, y, verbose = 0),
    evaluate(model, by_hand[[1]], by_hand[[2]], verbose = 0)
  )
})

test_that("a second model for the same kind of data frame is trained without new traces", {
  skip_if_not(
    keras$backend$backend() == "tensorflow",
    "only TensorFlow counts traces for each model"
  )
  engine_for <- reticulate::import("kerasfit.engines")$engine_for
  traces <- function() {
    model <- keras$Sequential(list(
      keras$Input(list(4L)),
      keras$layers$Dense(11L, activation = "relu"),
      keras$layers$Dense(3L, activation = "softmax")
    ))
    compile(model, "adam", "sparse_categorical_crossentropy", metrics = "accuracy")
    fit(model, iris[iris_rows, 1:4], iris_y, validation_split = 0.2, verbose = 0)
    engine_for(model)$step("train")$traces
  }
  expect_identical(c(traces(), traces()), c(1L, 0L))
})
