skip_on_cran()

test_that("passing tensors to R's own functions is an error that suggests Keras's functions", {
  given <- list(
    abs = function(y_true, y_pred) abs(y_true - y_pred),
    max = function(y_true, y_pred) max(y_true, y_pred),
    where = function(y_true, y_pred) ifelse(y_true > 0, 2, 0),
    mean = function(y_true, y_pred) mean(y_true - y_pred),
    matmul = function(y_true, y_pred) y_true %*% y_pred,
    sum = function(y_true, y_pred) rowSums(y_true)
  )
  for (name in names(given)) {
    for (kind in c("loss", "metrics")) {
      model <- regressor()
      if (kind == "loss") {
        compile(model, "sgd", given[[name]])
      } else {
        compile(model, "sgd", "mse", metrics = given[[name]])
      }
      error <- tryCatch(
        suppressWarnings(evaluate(model, iris_x, iris_x[, 1], verbose = 0)),
        kerasfit_error = identity
      )
      expect_match(
        rlang::cnd_message(error),
        sprintf("are tensors.*keras.ops.%s", name),
        info = paste(name, kind)
      )
    }
  }
  compile(model, "sgd", function(y_true, y_pred) stop("mine"))
  error <- tryCatch(
    evaluate(model, iris_x, iris_x[, 1], verbose = 0),
    kerasfit_error_user = identity
  )
  expect_no_match(rlang::cnd_message(error), "tensors")
})

test_that("an error in the user's function keeps its message and has location and history", {
  count <- 0
  read_file <- function() stop("the file is gone")
  failing <- function() {
    count <<- count + 1
    if (count == 8) {
      read_file()
    }
    list(iris_x, iris_y)
  }
  error <- expect_error(
    fit(classifier(), failing, steps_per_epoch = 5, epochs = 3, verbose = 0),
    "An error occurred in the generator `x`, epoch 2, batch 3.*the file is gone",
    class = "kerasfit_error_user"
  )
  expect_identical(error$call[[1]], quote(fit))
  expect_identical(error$parent$message, "the file is gone")
  expect_identical(error$parent$call, quote(read_file()))
  expect_true(any(vapply(error$parent$trace$call, identical, NA, quote(next_batch()))))
  expect_identical(c(error$epoch, error$batch), 2:3)
  expect_identical(unique(as.data.frame(error$history)$epoch), 1L)

  callback <- keras$callbacks$LambdaCallback(on_epoch_end = function(epoch, logs) {
    if (epoch == 2) stop("no disk")
  })
  error <- expect_error(
    fit(classifier(), iris_x, iris_y, epochs = 5, callbacks = callback, verbose = 0),
    "in `on_epoch_end\\(\\)` of the callback LambdaCallback, epoch 3.*no disk",
    class = "kerasfit_error_user"
  )
  expect_length(error$history$metrics$loss, 2)
  loss <- function(y_true, y_pred) stop("no idea")
  expect_error(
    fit(classifier(loss = loss, metrics = NULL), iris_x, iris_y, verbose = 0),
    "in the loss `loss`, epoch 1, batch 1.*no idea",
    class = "kerasfit_error_user"
  )
})

test_that("a metric that mixes integers and floats is an error that shows how to convert them", {
  skip_if_not(keras$backend$backend() == "tensorflow")
  model <- compile(
    regressor(),
    "sgd",
    "mse",
    metrics = list(error = function(y_true, y_pred) keras$ops$mean(y_true - y_pred))
  )
  expect_error(
    fit(model, iris_x, 1:150, verbose = 0),
    "keras\\$ops\\$cast\\(y_true, y_pred\\$dtype\\)",
    class = "kerasfit_error_data"
  )
})

test_that("a mistake in a batch of a generator is an error that names the batch", {
  batch <- 0
  late <- function() {
    batch <<- batch + 1
    list(if (batch == 3) replace(iris_x, 7, NA) else iris_x, iris_y)
  }
  expect_error(
    fit(classifier(), late, steps_per_epoch = 5, verbose = 0),
    "`x\\(\\)\\[\\[1\\]\\]` has 1 missing value.*In the generator `x`, epoch 1, batch 3",
    class = "kerasfit_error_data"
  )
  validate <- function() list(iris_x, as.character(iris_y))
  expect_error(
    fit(
      classifier(),
      iris_x,
      iris_y,
      validation_data = validate,
      validation_steps = 1,
      verbose = 0
    ),
    "`validation_data\\(\\)\\[\\[2\\]\\]` is text",
    class = "kerasfit_error_data"
  )
})

test_that("an error raised by Keras is one R error with the Python traceback attached", {
  layer <- keras$layers$Reshape(list(3L))
  model <- compile(keras$Sequential(list(layer, keras$layers$Dense(1L))), "sgd", "mse")
  error <- expect_error(
    fit(model, iris_x, iris_x[, 1], verbose = 0),
    class = "kerasfit_error_python"
  )
  expect_no_match(conditionMessage(error), "Traceback|File \"|py_last_error|\033|None")
  expect_match(error$python_traceback, "Traceback")
})
