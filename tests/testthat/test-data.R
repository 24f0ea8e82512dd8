skip_on_cran()

test_that("Python classes written in R work as datasets, layers and losses", {
  Batches <- reticulate::PyClass(
    "Batches",
    inherit = keras$utils$PyDataset,
    defs = list(
      `__len__` = function(self) 5L,
      `__getitem__` = function(self, number) {
        rows <- number * 30 + 1:30
        tuple(iris_x[rows, ], array(as.integer(iris_y[rows]) - 1L))
      }
    )
  )
  expect_equal(
    weights_after(classifier(), Batches()),
    weights_after(classifier(), iris_x, iris_y, batch_size = 30)
  )
  Double <- reticulate::PyClass(
    "Double",
    inherit = keras$layers$Layer,
    defs = list(call = function(self, x) x * 2)
  )
  Mean <- reticulate::PyClass(
    "Mean",
    inherit = keras$losses$Loss,
    defs = list(
      call = function(self, y_true, y_pred) keras$ops$mean(y_pred)
    )
  )
  mean_of_predictions <- function(layers, loss, x) {
    set_random_seed(1)
    model <- keras$Sequential(c(keras$Input(list(4L)), layers, keras$layers$Dense(1L)))
    weights_after(compile(model, "sgd", loss), x, iris_x[, 1])
  }
  expect_equal(
    mean_of_predictions(list(Double()), Mean(), iris_x),
    mean_of_predictions(list(), function(y_true, y_pred) keras$ops$mean(y_pred), 2 * iris_x)
  )
})

test_that("a factor is one-hot encoded for categorical_crossentropy and its levels are kept", {
  one_hot <- diag(3)[as.integer(iris_y), ]
  model <- function() classifier(loss = "categorical_crossentropy")
  expect_equal(weights_after(model(), iris_x, iris_y), weights_after(model(), iris_x, one_hot))
  history <- fit(classifier(), iris_x, iris_y, verbose = 0)
  expect_equal(history$params$levels, levels(iris$Species))
})

test_that("factors are matched by the names of their levels", {
  model <- classifier(loss = "categorical_crossentropy")
  virginica <- iris_y == "virginica"
  few <- droplevels(iris_y[virginica])
  validated <- fit(
    model,
    iris_x,
    iris_y,
    validation_data = list(iris_x[virginica, ], few),
    verbose = 0
  )
  expect_equal(
    validated$metrics$val_loss,
    evaluate(model, iris_x[virginica, ], few, verbose = 0)$loss
  )
  expect_equal(
    evaluate(model, iris_x[virginica, ], iris_y[virginica], verbose = 0)$loss,
    validated$metrics$val_loss
  )

  width <- keras$Input(list(1L), name = "width")
  species <- keras$Input(list(1L), name = "species", dtype = "int32")
  embedded <- keras$layers$Flatten()(keras$layers$Embedding(3L, 2L)(species))
  model <- keras$Model(
    list(width, species),
    keras$layers$Dense(1L)(keras$layers$concatenate(list(width, embedded)))
  )
  compile(model, "sgd", "mse")
  data <- data.frame(width = iris_x[, 4], species = iris_y)
  fit(model, data, iris_x[, 3], verbose = 0)
  expect_equal(
    predict(model, droplevels(data[virginica, ])),
    predict(model, data)[virginica, , drop = FALSE]
  )
  other <- transform(data, species = factor("rosa"))
  error <- expect_error(
    predict(model, other),
    "`x\\$species` has a level rosa that the training data did not have",
    class = "kerasfit_error_data"
  )
  expect_equal(error$argument, "x")
})

test_that("raw, logical and 64-bit integer data are numbers", {
  x <- matrix(rep(0:1, 300), ncol = 4)
  expected <- weights_after(classifier(), x, iris_y)
  expect_equal(weights_after(classifier(), x == 1, iris_y), expected)
  bytes <- x
  storage.mode(bytes) <- "raw"
  expect_equal(weights_after(classifier(), bytes, iris_y), expected)
  skip_if_not_installed("bit64")
  long <- bit64::as.integer64(x)
  dim(long) <- dim(x)
  expect_equal(weights_after(classifier(), long, iris_y), expected)
  expect_error(
    fit(classifier(), replace(x, 7, NA), iris_y),
    "`x` has 1 missing value",
    class = "kerasfit_error_data"
  )
  expect_error(fit(classifier(), x + 1i, iris_y), "class complex", class = "kerasfit_error_data")
})

test_that("fit() continues with the levels of the first training, and so does a loaded model", {
  model <- classifier()
  fit(model, iris_x, iris_y, epochs = 3, verbose = 0)
  rows <- iris_y != "setosa"
  path <- withr::local_tempfile(fileext = ".keras")
  model$save(path)
  backwards <- factor(iris_y, rev(levels(iris_y)))
  expected <- evaluate(model, iris_x, backwards, verbose = 0)
  expect_equal(expected, evaluate(model, iris_x, as.integer(iris_y) - 1L, verbose = 0))
  loaded <- keras$models$load_model(path)
  expect_equal(evaluate(loaded, iris_x, backwards, verbose = 0), expected)
  history <- fit(loaded, iris_x[rows, ], droplevels(iris_y[rows]), verbose = 0, shuffle = FALSE)
  expect_identical(history$params$levels, levels(iris_y))
  fit(model, iris_x[rows, ], as.integer(iris_y[rows]) - 1L, verbose = 0, shuffle = FALSE)
  expect_equal(loaded$get_weights(), model$get_weights(), tolerance = 1e-5)
  skip_if_not_installed("callr")
  # load with Python's Keras, as keras3 does, before kerasfit needs Python
  elsewhere <- in_new_session(
    function(path, x, y) {
      library(kerasfit)
      loaded <- reticulate::import("keras")$saving$load_model(path)
      evaluate(loaded, x, y, verbose = 0)
    },
    args = list(path, iris_x, backwards)
  )
  expect_equal(elsewhere, expected, tolerance = 1e-4)
})

test_that("numbers with a class are used as numbers", {
  withr::local_options(keras.verbose = 0L)
  model <- regressor()
  expected <- predict(model, iris_x)
  same <- list(
    I(iris_x),
    ts(iris_x),
    structure(iris_x, class = "own"),
    as.table(iris_x),
    structure(iris_x, class = c("xts", "zoo"), index = 1:150),
    data.frame(a = I(iris_x)),
    data.frame(a = I(iris_x[, 1]), b = I(iris_x[, -1])),
    as.data.frame(lapply(as.data.frame(iris_x), ts))
  )
  if (rlang::is_installed("Matrix")) {
    same <- c(same, Matrix::Matrix(iris_x, sparse = FALSE))
  }
  for (x in same) {
    expect_equal(predict(model, x), expected, label = class(x)[[1]])
  }
  weights <- table(rep(1:150, 1:150))
  expect_equal(
    evaluate(model, iris_x, ts(iris_x[, 1]), sample_weight = weights, verbose = 0),
    evaluate(model, iris_x, iris_x[, 1], sample_weight = 1:150, verbose = 0)
  )
})

test_that("a sparse matrix trains like the dense one", {
  skip_if_not_installed("Matrix")
  skip_if_not(reticulate::py_module_available("scipy"))
  dense <- round(iris_x * (iris_x > 3), 1)
  withr::local_options(kerasfit.plan = "step")
  trained <- function(x) {
    model <- classifier()
    fit(model, x, iris_y, verbose = 0, shuffle = FALSE)
    unlist(model$get_weights())
  }
  for (sparse in list(
    Matrix::Matrix(dense, sparse = TRUE),
    as(Matrix::Matrix(dense, sparse = TRUE), "TsparseMatrix")
  )) {
    expect_equal(trained(sparse), trained(dense))
  }
})

test_that("options(kerasfit.allow_missing = TRUE) accepts missing values", {
  holes <- replace(iris_x, 5, NaN)
  expect_error(
    fit(classifier(), holes, iris_y, verbose = 0),
    "`x` has 1 missing value",
    class = "kerasfit_error_data"
  )
  withr::local_options(kerasfit.allow_missing = TRUE)
  expect_true(is.nan(evaluate(regressor(), holes, iris_x[, 1], verbose = 0)$loss))
  withr::local_options(kerasfit.allow_missing = "yes")
  expect_error(
    fit(classifier(), holes, iris_y),
    "must be TRUE or FALSE",
    class = "kerasfit_error_argument"
  )
})

test_that("a factor is used as codes counted from 0", {
  expect_equal(
    weights_after(classifier(), iris_x, iris_y),
    weights_after(classifier(), iris_x, as.integer(iris_y) - 1L)
  )
})

test_that("a named list is named inputs, and a list is the inputs of a model made from a list", {
  build <- function(inputs_of) {
    set_random_seed(1)
    a <- keras$Input(list(2L), name = "a")
    b <- keras$Input(list(2L), name = "b")
    joined <- keras$layers$Concatenate()(list(a, b))
    compile(keras$Model(inputs_of(a = a, b = b), keras$layers$Dense(1L)(joined)), "sgd", "mse")
  }
  y <- iris_x[, 1]
  named <- weights_after(build(list), list(b = iris_x[, 3:4], a = iris_x[, 1:2]), y)
  by_place <- list(iris_x[, 1:2], iris_x[, 3:4])
  expect_equal(weights_after(build(function(...) unname(list(...))), by_place, y), named)
  expect_error(
    weights_after(build(list), by_place, y),
    "list without names",
    class = "kerasfit_error_data"
  )
})

test_that("models with several outputs accept a list of targets and a list of sample weights", {
  build <- function() {
    set_random_seed(1)
    input <- keras$Input(list(4L))
    u <- keras$layers$Dense(1L, name = "u")(input)
    v <- keras$layers$Dense(3L, activation = "softmax", name = "v")(input)
    compile(
      keras$Model(input, list(u = u, v = v)),
      "sgd",
      list(u = "mse", v = "sparse_categorical_crossentropy")
    )
  }
  y <- list(u = iris_x[, 1], v = iris_y)
  named <- weights_after(build(), iris_x, y)
  expect_equal(weights_after(build(), iris_x, unname(y)), named)
  weighted <- weights_after(
    build(),
    iris_x,
    y,
    sample_weight = list(u = rep(2, 150), v = rep(1, 150))
  )
  expect_false(isTRUE(all.equal(weighted, named)))
  predicted <- predict(build(), iris_x, verbose = 0)
  expect_identical(lapply(predicted, dim), list(u = c(150L, 1L), v = c(150L, 3L)))
})

test_that("vectors, logicals and integers are numbers", {
  build <- function() {
    set_random_seed(1)
    compile(keras$Sequential(list(keras$Input(list(1L)), keras$layers$Dense(1L))), "sgd", "mse")
  }
  y <- iris_x[, 2] > 3
  expect_equal(
    weights_after(build(), iris_x[, 1], y),
    weights_after(build(), matrix(iris_x[, 1]), as.integer(y))
  )
})

test_that("temporal sample weights are a matrix", {
  for_each_step <- function() {
    set_random_seed(1)
    model <- keras$Sequential(list(keras$Input(list(6L, 3L)), keras$layers$Dense(1L)))
    compile(model, "sgd", "mse")
  }
  x <- array(rnorm(10 * 6 * 3), c(10, 6, 3))
  y <- array(rnorm(60), c(10, 6, 1))
  weights <- matrix(runif(60), 10)
  model <- for_each_step()
  model$fit(x, y, sample_weight = weights, verbose = 0L)
  expect_equal(
    weights_after(for_each_step(), x, y, sample_weight = weights),
    unlist(model$get_weights()),
    tolerance = 1e-5
  )
  expect_error(
    fit(model, x, y, sample_weight = matrix(1, 9, 6), verbose = 0),
    "`sample_weight` has 9 samples"
  )
})

test_that("tensors and datasets train like arrays", {
  tf <- reticulate::import("tensorflow")
  y <- as.integer(iris_y) - 1L
  expected <- weights_after(classifier(), iris_x, y)
  tensor <- tf$convert_to_tensor(iris_x, dtype = "float32")
  expect_equal(weights_after(classifier(), tensor, y), expected)
  dataset <- tf$data$Dataset$from_tensor_slices(tuple(tensor, array(y)))$batch(32L)
  expect_equal(weights_after(classifier(), dataset), expected)
})
