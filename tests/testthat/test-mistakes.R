skip_on_cran()

model <- NULL
mistake <- function(..., argument, message, kind = "argument") {
  if (is.null(model)) model <<- classifier()
  before <- model$get_weights()
  seed <- .Random.seed
  error <- expect_error(fit(model, ...), class = "kerasfit_error")
  expect_s3_class(error, paste0("kerasfit_error_", kind))
  expect_match(conditionMessage(error), message, fixed = TRUE)
  expect_identical(error$argument, argument)
  expect_identical(error$call[[1]], quote(fit))
  expect_no_match(conditionMessage(error), "Traceback|py_last_error|File \"")
  expect_identical(model$get_weights(), before)
  expect_identical(.Random.seed, seed)
}

endless <- function() list(iris_x, as.integer(iris_y) - 1L)
dataset <- function() {
  tf <- reticulate::import("tensorflow")
  tf$data$Dataset$from_tensor_slices(tuple(iris_x, array(as.integer(iris_y) - 1L)))$batch(30L)
}

test_that("data that do not fit each other are an error that names the argument", {
  mistake(iris_x, iris_y[1:10], argument = "y", message = "`y` has 10 samples and `x` has 150", kind = "data")
  mistake(iris_x, iris_y, sample_weight = 1, argument = "sample_weight", message = "has 1 samples", kind = "data")
  mistake(iris_x, iris_y,
    validation_data = list(iris_x, iris_y[1:3]),
    argument = "validation_data", message = "`validation_data[[2]]` has 3 samples", kind = "data"
  )
  mistake(iris_x, iris_y,
    validation_data = list(iris_x, factor(iris_y, rev(levels(iris_y)))),
    argument = "validation_data", message = "levels virginica, versicolor and setosa", kind = "data"
  )
  mistake(argument = "x", message = "`x` is missing")
})

test_that("what cannot be trained on is an error that says what to give instead", {
  mistake(iris[1:5], iris_y, argument = "x", message = "model.matrix()", kind = "data")
  mistake(iris_x, as.character(iris_y), argument = "y", message = "`y` is text", kind = "data")
  mistake(iris_x, Sys.Date() + 1:150, argument = "y", message = "class Date", kind = "data")
  mistake(quote(x + y), iris_y, argument = "x", message = "class call", kind = "data")
})

test_that("missing values in a generator's batch are the same mistake", {
  holes <- function() list(replace(iris_x, 7, NA), iris_y)
  mistake(holes, steps_per_epoch = 2, argument = "x", message = "`x()[[1]]` has 1 missing value", kind = "data")
  validate <- function() list(iris_x, as.character(iris_y))
  expect_error(
    fit(classifier(), iris_x, iris_y, validation_data = validate, validation_steps = 1, verbose = 0),
    "`validation_data\\(\\)\\[\\[2\\]\\]` is text", class = "kerasfit_error_data"
  )
})

test_that("a list must have all names or none", {
  mistake(list(a = iris_x, iris_x), iris_y, argument = "x", message = "some elements named and others not")
})

test_that("missing values are counted", {
  holes <- iris_x
  holes[c(3, 9), 2] <- NA
  mistake(holes, iris_y, argument = "x", message = "`x` has 2 missing values", kind = "data")
  codes <- as.integer(iris_y)
  codes[5] <- NA
  mistake(iris_x, codes, argument = "y", message = "`y` has 1 missing value.", kind = "data")
  mistake(iris_x, replace(iris_y, 1:2, NA), argument = "y", message = "a factor with 2 missing values", kind = "data")
  mistake(list(iris_x, holes), iris_y, argument = "x", message = "`x[[2]]` has 2 missing values", kind = "data")
  mistake(iris_x, iris_y, epochs = NA, argument = "epochs", message = "must not be NA")
})

test_that("numbers out of range are an error before training", {
  mistake(iris_x, iris_y, validation_split = 1, argument = "validation_split", message = "at least 0 and below 1, not 1")
  mistake(iris_x, iris_y, validation_split = -0.1, argument = "validation_split", message = "not -0.1")
  mistake(iris_x, iris_y, initial_epoch = 3, epochs = 2, argument = "initial_epoch", message = "is past `epochs` (2)")
  mistake(iris_x, iris_y, initial_epoch = 0, argument = "initial_epoch", message = "1 or more, not 0")
  mistake(iris_x, iris_y, epochs = c(1, 2), argument = "epochs", message = "not a list of 2")
  mistake(iris_x, iris_y, epochs = NULL, argument = "epochs", message = "not nothing")
  mistake(iris_x, iris_y, batch_size = 0, argument = "batch_size", message = "1 or more, not 0")
  mistake(iris_x, iris_y, verbose = "loud", argument = "verbose", message = "not \"loud\"")
  mistake(iris_x, iris_y, shuffle = "yes", argument = "shuffle", message = "true or false")
  mistake(iris_x, iris_y, callbacks = list(mean), argument = "callbacks", message = "element 1")
})

test_that("class weights that miss a class that occurs are an error", {
  codes <- as.integer(iris_y) - 1L
  mistake(iris_x, codes, class_weight = list("0" = 1, "2" = 2), argument = "class_weight", message = "no weight for class 1")
  mistake(iris_x, iris_y, class_weight = list(sertosa = 2), argument = "class_weight", message = "setosa, versicolor and virginica")
  mistake(iris_x, iris_y, class_weight = 1:3, argument = "class_weight", message = "named list")
})

test_that("arguments that go with arrays only are refused beside datasets and generators", {
  for (x in list(endless, dataset())) {
    kind <- if (is.function(x)) "generator" else "dataset"
    mistake(x, iris_y, argument = "y", message = paste("the batches of a", kind, "hold it"))
    mistake(x, batch_size = 8, argument = "batch_size", message = "goes with arrays only")
    mistake(x, sample_weight = 1:3, argument = "sample_weight", message = "goes with arrays only")
    mistake(x, validation_split = 0.1, argument = "validation_split", message = "needs arrays")
  }
})

test_that("an endless generator needs steps_per_epoch", {
  mistake(endless, argument = "steps_per_epoch", message = "`steps_per_epoch` is missing")
  mistake(dataset()[["repeat"]](), argument = "steps_per_epoch", message = "`steps_per_epoch` is missing")
  mistake(iris_x, iris_y, validation_data = endless, argument = "validation_steps", message = "`validation_steps` is missing")
})

test_that("arguments without a name, or that there are not, are refused", {
  mistake(iris_x, iris_y, 32, argument = "...", message = "must be named")
  mistake(iris_x, iris_y, epoch = 3, argument = "epoch", message = "does not know the argument `epoch`")
  expect_error(evaluate(model, iris_x, iris_y, size = 3), "evaluate\\(\\) does not know the argument `size`", class = "kerasfit_error_argument")
  expect_error(predict(model, iris_x, 32), "must be named", class = "kerasfit_error_argument")
  expect_error(compile(model, "adam", "mse", measures = "mae"), "does not know the argument `measures`", class = "kerasfit_error_argument")
})

test_that("a model that is not compiled says so", {
  bare <- keras$Sequential(list(keras$layers$Dense(1L)))
  expect_error(fit(bare, iris_x, iris_x[, 1]), "call compile\\(\\) before fit\\(\\)", class = "kerasfit_error_argument")
  expect_error(evaluate(bare, iris_x, iris_x[, 1]), "before evaluate\\(\\)", class = "kerasfit_error_argument")
})

test_that("an error in the user's own generator or callback keeps its message", {
  count <- 0
  failing <- function() {
    count <<- count + 1
    if (count == 3) stop("the file is gone")
    list(iris_x, iris_y)
  }
  expect_error(fit(classifier(), failing, steps_per_epoch = 5, verbose = 0), "^the file is gone$", class = "kerasfit_error")
  callback <- keras$callbacks$LambdaCallback(on_epoch_end = function(epoch, logs) stop("no disk"))
  expect_error(fit(classifier(), iris_x, iris_y, callbacks = callback, verbose = 0), "^no disk$", class = "kerasfit_error")
})

test_that("what Keras objects to is one R error with the traceback attached, and the session goes on", {
  model <- classifier()
  error <- expect_error(fit(model, iris_x[, 1:3], iris_y, verbose = 0), class = "kerasfit_error_python")
  expect_match(conditionMessage(error), "expected .*shape")
  expect_no_match(conditionMessage(error), "Traceback|File \"|py_last_error|\033")
  expect_match(error$python_traceback, "Traceback")
  expect_s3_class(fit(model, iris_x, iris_y, verbose = 0), "keras_training_history")
})
