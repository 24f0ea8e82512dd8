skip_on_cran()

#' The arguments of a Python function, with defaults as R values
python_arguments <- function(class) {
  inspect <- reticulate::import("inspect")
  parameters <- inspect$signature(class)$parameters
  arguments <- list()
  for (name in reticulate::iterate(parameters)) {
    parameter <- parameters[[name]]
    if (as.character(parameter$kind) %in% c("VAR_KEYWORD", "4")) {
      next
    }
    required <- reticulate::py_to_r(reticulate::import_builtins()$bool(
      parameter$default == inspect$Parameter$empty
    ))
    arguments[name] <- list(if (required) quote(expr = ) else parameter$default)
  }
  arguments
}

test_that("each callback of Keras has a function with the same arguments and defaults", {
  classes <- c(
    callback_early_stopping = "EarlyStopping",
    callback_model_checkpoint = "ModelCheckpoint",
    callback_reduce_lr_on_plateau = "ReduceLROnPlateau",
    callback_learning_rate_scheduler = "LearningRateScheduler",
    callback_csv_logger = "CSVLogger",
    callback_tensorboard = "TensorBoard",
    callback_terminate_on_nan = "TerminateOnNaN",
    callback_swap_ema_weights = "SwapEMAWeights",
    callback_remote_monitor = "RemoteMonitor",
    callback_lambda = "LambdaCallback",
    callback_backup_and_restore = "BackupAndRestore"
  )
  # not for users: the base class, those of every run, and those of other ways to train
  others <- c(
    "Callback",
    "CallbackList",
    "History",
    "ProgbarLogger",
    "MonitorCallback",
    "OrbaxCheckpoint"
  )
  known <- grep("^[A-Z]", names(keras$callbacks), value = TRUE)
  expect_setequal(setdiff(known, others), classes)
  for (name in names(classes)) {
    theirs <- python_arguments(keras$callbacks[[classes[[name]]]])
    ours <- as.list(formals(getExportedValue("kerasfit", name)))
    own <- list(
      callback_backup_and_restore = "learning_rate",
      callback_learning_rate_scheduler = "first_epoch"
    )[[name]]
    ours <- ours[setdiff(names(ours), c("...", own))]
    expect_identical(names(ours), names(theirs), label = name)
    for (argument in names(theirs)) {
      expect_equal(ours[argument], theirs[argument], label = paste(name, argument))
    }
  }
})

test_that("callback_terminate_on_nan() reports the batch counted from 1", {
  model <- regressor()
  compile(model, keras$optimizers$SGD(1e30), "mse")
  expect_output(
    fit(
      model,
      iris_x,
      1:150,
      batch_size = 50,
      callbacks = callback_terminate_on_nan(),
      verbose = 0
    ),
    "Batch 2: Invalid loss"
  )
  expect_error(
    fit(
      model,
      iris_x,
      1:150,
      batch_size = 50,
      callbacks = callback_terminate_on_nan(TRUE),
      verbose = 0
    ),
    "at batch 1",
    class = "kerasfit_error"
  )
})

test_that("invalid arguments of callbacks are errors of the function that creates the callback", {
  expect_error(
    callback_early_stopping(patience = 1.5),
    "`patience` must be a whole number, 0 or more, not 1.5",
    class = "kerasfit_error_argument"
  )
  error <- expect_error(
    callback_reduce_lr_on_plateau(factor = 2),
    "does not support a factor >= 1.0",
    class = "kerasfit_error_argument"
  )
  expect_identical(error$argument, "factor")
  expect_error(
    callback_learning_rate_scheduler(mean, first_epoch = 2),
    "`first_epoch` must be 0 or 1, not 2",
    class = "kerasfit_error_argument"
  )
  expect_error(
    callback_learning_rate_scheduler(0.1),
    "`schedule` must be a function",
    class = "kerasfit_error_argument"
  )
  expect_error(
    callback_csv_logger("a.csv", ", "),
    '`separator` must be one character, not',
    class = "kerasfit_error_argument"
  )
  expect_error(
    callback_csv_logger("no/folder/a.csv"),
    "The folder of `filename`, no/folder, does not exist",
    class = "kerasfit_error_argument"
  )
  expect_error(
    callback_lambda(on_pause = mean),
    "no hook `on_pause`",
    class = "kerasfit_error_argument"
  )
  expect_error(
    callback_backup_and_restore(3),
    "`backup_dir` must be the path",
    class = "kerasfit_error_argument"
  )
  expect_error(
    Callback("A", on_epoch_end = 3),
    "`on_epoch_end` must be a function",
    class = "kerasfit_error_argument"
  )
  expect_error(
    Callback("A", inherit = mean),
    "`inherit` must be a class",
    class = "kerasfit_error_argument"
  )
  expect_error(Callback(3), "`classname` must be a name", class = "kerasfit_error_argument")
  text <- callback_learning_rate_scheduler(function(epoch) "fast")
  expect_error(
    fit(classifier(), iris_x, iris_y, callbacks = text, verbose = 0),
    "`schedule` must return a number, not \"fast\"",
    class = "kerasfit_error_argument"
  )
  Failing <- Callback("Failing", on_epoch_end = function(epoch) if (epoch == 2) stop("no"))
  error <- expect_error(
    fit(classifier(), iris_x, iris_y, epochs = 3, callbacks = Failing(), verbose = 0),
    "`on_epoch_end\\(\\)` of the callback Failing, epoch 2",
    class = "kerasfit_error_user"
  )
  expect_identical(conditionMessage(error$parent), "no")
})

test_that("a patience of Inf never ends training", {
  for (patience in c(Inf, 1e10)) {
    never <- callback_early_stopping("loss", min_delta = 10, patience = patience, verbose = TRUE)
    expect_identical(never$patience, .Machine$integer.max)
  }
  history <- fit(classifier(), iris_x, iris_y, epochs = 4, callbacks = never, verbose = 0)
  expect_length(history$params$epoch, 4)
  expect_no_error(callback_model_checkpoint(
    "a.keras",
    save_freq = 3,
    initial_value_threshold = 0.5
  ))
  expect_no_error(callback_tensorboard(update_freq = "batch", histogram_freq = 2))
  expect_identical(callback_argument(c(2, 4), "profile_batch", "whole"), c(2L, 4L))
})

test_that("callback_learning_rate_scheduler() sets the rate with an R function of the epoch", {
  rates <- numeric()
  fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 3,
    verbose = 0,
    callbacks = list(
      callback_learning_rate_scheduler(function(epoch, lr) epoch / 100),
      callback_lambda(on_epoch_end = function(logs) rates <<- c(rates, logs$learning_rate))
    )
  )
  expect_equal(rates, 1:3 / 100, tolerance = 1e-6)
  seen <- numeric()
  scheduler <- callback_learning_rate_scheduler(first_epoch = 0, schedule = function(epoch, lr) {
    seen <<- c(seen, epoch)
    lr
  })
  fit(classifier(), iris_x, iris_y, epochs = 2, verbose = 0, callbacks = scheduler)
  expect_equal(seen, 0:1)
})

test_that("Keras's callbacks work alone and in a list, and early stopping leaves no extra rows", {
  stop_early <- keras$callbacks$EarlyStopping(monitor = "loss", min_delta = 100, patience = 2L)
  history <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 50,
    callbacks = list(stop_early),
    verbose = 0
  )
  expect_identical(history$params$epoch, 1:3)
  expect_length(history$metrics$accuracy, 3)
  expect_identical(history$params$epochs, 50L)
  alone <- fit(classifier(), iris_x, iris_y, epochs = 50, callbacks = stop_early, verbose = 0)
  expect_identical(alone$params$epoch, 1:3)
})
