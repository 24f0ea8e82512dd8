skip_on_cran()

test_that("Python warnings are R warnings", {
  expect_warning(
    history <- fit(classifier(), reticulate::py_iterator(batches()), epochs = 3, verbose = 0),
    "no batch for epoch 2",
    class = "kerasfit_warning"
  )
  expect_identical(history$params$epoch, 1L)
})

test_that("an R function can collect garbage and call Python while a step runs in the background", {
  skip_unless_all()
  batch <- function() {
    gc()
    rows <- sample(150, 30)
    as.numeric(keras$backend$floatx() == "float32")
    list(iris_x[rows, ], iris_y[rows])
  }
  for (times in 1:2) {
    history <- fit(classifier(), batch, steps_per_epoch = 6, epochs = 2, verbose = 0)
    expect_true(all(is.finite(history$metrics$loss)))
  }
})

test_that("a condition in the user's function can end fit() through a handler outside of it", {
  model <- regressor()
  train <- function(...) fit(model, iris_x, iris_x[, 1], ..., verbose = 0)
  for (watch in list(
    list(on_epoch_end = function() warning("careful")),
    list(on_train_batch_end = function() warning("careful")),
    callback_learning_rate_scheduler(function(epoch, lr) warning("careful"))
  )) {
    expect_identical(tryCatch(train(callbacks = watch), warning = conditionMessage), "careful")
  }
  batch <- function() {
    message("a batch")
    list(iris_x, iris_x[, 1])
  }
  expect_identical(
    tryCatch(fit(model, batch, steps_per_epoch = 2, verbose = 0), message = conditionMessage),
    "a batch\n"
  )
  expect_identical(
    withRestarts(
      withCallingHandlers(
        train(callbacks = list(on_epoch_end = function() warning("careful"))),
        warning = function(w) {
          invokeRestart("elsewhere", "there")
        }
      ),
      elsewhere = identity
    ),
    "there"
  )
  other <- regressor()
  within <- list(on_epoch_end = function() {
    fit(
      other,
      iris_x,
      iris_x[, 1],
      callbacks = list(on_epoch_end = function() warning("within")),
      verbose = 0
    )
  })
  expect_identical(tryCatch(train(callbacks = within), warning = conditionMessage), "within")
  strict <- function(y_true, y_pred) {
    warning("in the loss")
    keras$ops$mean(y_true - y_pred, axis = -1L)
  }
  compile(model, "sgd", strict)
  expect_identical(tryCatch(train(), warning = conditionMessage), "in the loss")
  # Python still works from another depth of the stack
  compile(model, "sgd", "mse")
  deeper <- function(n) if (n) deeper(n - 1) else train()
  expect_s3_class(deeper(5), "keras_training_history")
})

test_that("conditions without an exiting handler have their usual effect", {
  model <- regressor()
  watch <- list(
    on_epoch_begin = function() warning("a warning"),
    on_epoch_end = function() message("a message"),
    on_train_end = function() tryCatch(warning("handled inside"), warning = identity)
  )
  expect_warning(
    expect_message(
      history <- fit(model, iris_x, iris_x[, 1], callbacks = watch, verbose = 0),
      "a message"
    ),
    "a warning"
  )
  expect_length(history$metrics$loss, 1)
})

test_that("a jump without a condition is an error", {
  model <- regressor()
  error <- tryCatch(
    callCC(function(leave) {
      fit(
        model,
        iris_x,
        iris_x[, 1],
        callbacks = list(on_epoch_end = function() leave(1)),
        verbose = 0
      )
    }),
    error = identity
  )
  expect_s3_class(error, "kerasfit_error_user")
  expect_match(conditionMessage(error), "tried to jump out of fit\\(\\)")
  expect_match(conditionMessage(error), "on_epoch_end")
})

test_that("the condition of an error in the user's function is kept unchanged", {
  fails_with <- function(...) {
    tryCatch(fit(regressor(), ..., verbose = 0), error = function(error) error$parent)
  }
  own <- structure(
    class = c("http_404", "error", "condition"),
    list(message = "not found", call = NULL, status = 404L)
  )
  expect_identical(fails_with(function() stop(own), steps_per_epoch = 2)$status, 404L)
  parent <- fails_with(
    iris_x,
    iris_x[, 1],
    callbacks = list(on_epoch_end = function() {
      rlang::abort("why", class = "mine", data = 7, parent = simpleError("deep"))
    })
  )
  expect_s3_class(parent, "mine")
  expect_identical(parent$data, 7)
  expect_identical(conditionMessage(parent$parent), "deep")
  expect_s3_class(parent$trace, "rlang_trace")
})
