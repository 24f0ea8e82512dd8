# What data frames, factors, class weights of outputs and odd vectors mean.

skip_on_cran()

test_that("a data frame of numbers is a matrix, and a tibble too", {
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

test_that("a table of arrow is the data frame that it becomes", {
  # arrow itself is on few of the machines that run this
  table <- structure(list(iris[iris_rows, 1:4]), class = c("Table", "ArrowTabular"))
  as_data_frame <- function(x, ...) x[[1]]
  registerS3method("as.data.frame", "ArrowTabular", as_data_frame, envir = baseenv())
  expect_equal(
    weights_after(classifier(), table, iris_y),
    weights_after(classifier(), iris_x, iris_y)
  )
})

test_that("classes of Python that are written in R are datasets, layers and losses", {
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

test_that("columns go to the inputs of their names", {
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

test_that("a column that is no number is named", {
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

test_that("a factor is one-hot where the loss wants that, and its levels are kept", {
  one_hot <- diag(3)[as.integer(iris_y), ]
  model <- function() classifier(loss = "categorical_crossentropy")
  expect_equal(weights_after(model(), iris_x, iris_y), weights_after(model(), iris_x, one_hot))
  history <- fit(classifier(), iris_x, iris_y, verbose = 0)
  expect_equal(history$params$levels, levels(iris$Species))
})

test_that("factors mean the same by their names, whatever levels they have", {
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
    "`x\\$species` has a level rosa that there was not before",
    class = "kerasfit_error_data"
  )
  expect_equal(error$argument, "x")
})

test_that("class weights of an output are sample weights of that output", {
  two_outputs <- function() {
    set_random_seed(1)
    x <- keras$Input(list(4L))
    model <- keras$Model(
      x,
      list(
        keras$layers$Dense(3L, activation = "softmax", name = "kind")(x),
        keras$layers$Dense(1L, name = "size")(x)
      )
    )
    compile(model, "sgd", list("sparse_categorical_crossentropy", "mse"))
  }
  y <- list(kind = iris_y, size = iris_x[, 1])
  weights <- list(kind = c(1, 1, 5)[as.integer(iris_y)], size = rep(1, 150))
  expect_equal(
    weights_after(two_outputs(), iris_x, y, class_weight = list(kind = list(virginica = 5))),
    weights_after(two_outputs(), iris_x, y, sample_weight = weights)
  )
})

test_that("raw, logical and 64-bit integers are numbers", {
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

test_that("64-bit integers are numbers in every argument", {
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

test_that("fit() goes on with the levels that it had, and a loaded model has them", {
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
  # by Python's Keras, as keras3 does it, before kerasfit's own Python is needed
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

test_that("a vector of targets is a column for losses and metrics written in R", {
  two_outputs <- function(loss, ...) {
    set_random_seed(1)
    x <- keras$Input(list(4L))
    model <- keras$Model(x, list(a = keras$layers$Dense(1L)(x), b = keras$layers$Dense(1L)(x)))
    compile(model, "sgd", loss, ...)
  }
  error <- function(y_true, y_pred) keras$ops$mean(keras$ops$square(y_true - y_pred), axis = -1L)
  whole <- function(y_true, y_pred) keras$ops$mean(keras$ops$square(y_true - y_pred))
  Whole <- reticulate::PyClass(
    "Whole",
    inherit = keras$losses$Loss,
    defs = list(
      call = function(self, y_true, y_pred) {
        keras$ops$mean(keras$ops$square(y_true - y_pred), axis = -1L)
      }
    )
  )
  y <- list(a = iris_x[, 1], b = iris_x[, 2])
  expected <- evaluate(two_outputs("mse"), iris_x, y, verbose = 0)
  for (loss in list(error, whole, list(a = error, b = whole), Whole())) {
    model <- two_outputs(loss, metrics = list(a = whole))
    expect_equal(evaluate(model, iris_x, y, verbose = 0)$loss, expected$loss, tolerance = 1e-5)
    batches <- function() list(iris_x, y)
    expect_equal(
      evaluate(model, batches, steps = 1, verbose = 0)$loss,
      expected$loss,
      tolerance = 1e-5
    )
  }
})

test_that("what is numbers with a class is numbers", {
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

test_that("a matrix in a data frame goes to the input and to the output of its name", {
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

test_that("a sparse matrix trains as the dense one", {
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

test_that("missing values may be allowed", {
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
