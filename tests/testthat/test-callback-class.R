skip_on_cran()

test_that("hooks of an R class get epochs and batches counted from 1, and can stop training", {
  Recorder <- Callback(
    "Recorder",
    on_train_begin = function() private$add("train begin"),
    on_epoch_begin = function(epoch) private$add("epoch begin", epoch),
    on_train_batch_begin = function(batch, logs) private$add("batch begin", batch),
    on_train_batch_end = function(batch, logs) private$add("batch end", batch, names(logs)),
    on_test_begin = function(...) private$add("test begin"),
    on_test_batch_end = function(batch) private$add("test batch end", batch),
    on_test_end = function(logs) private$add("test end", names(logs)),
    on_epoch_end = function(logs, epoch) {
      private$add("epoch end", epoch, names(logs))
      if (epoch == self$last) self$model$stop_training <- TRUE
    },
    on_train_end = function() private$add("train end"),
    public = list(last = NULL, initialize = function(last) self$last <- last, events = character()),
    private = list(add = function(...) self$events <- c(self$events, paste(c(...), collapse = " ")))
  )
  recorder <- Recorder(2)
  model <- classifier()
  fit(
    model,
    iris_x,
    iris_y,
    batch_size = 75,
    epochs = 5,
    verbose = 0,
    callbacks = recorder,
    validation_data = list(iris_x, iris_y)
  )
  epoch <- function(number) {
    c(
      paste("epoch begin", number),
      "batch begin 1",
      "batch end 1 loss accuracy",
      "batch begin 2",
      "batch end 2 loss accuracy",
      "test begin",
      paste("test batch end", 1:2),
      "test end loss accuracy",
      paste("epoch end", number, "loss accuracy val_loss val_accuracy")
    )
  }
  expect_identical(recorder$events, c("train begin", epoch(1), epoch(2), "train end"))
  expect_identical(recorder$params$epochs, 5L)
  expect_identical(reticulate::py_id(recorder$model), reticulate::py_id(model))
  evaluate(model, iris_x, iris_y, batch_size = 150, callbacks = recorder, verbose = 0)
  expect_identical(
    utils::tail(recorder$events, 3),
    c("test begin", "test batch end 1", "test end loss accuracy")
  )
})

test_that("classes inherit from classes of Python and of R", {
  Patient <- Callback(
    "Patient",
    inherit = keras$callbacks$EarlyStopping,
    on_epoch_end = function(epoch, logs) {
      self$seen <- epoch
      super$on_epoch_end(epoch, list(loss = 1))
    }
  )
  patient <- Patient(monitor = "loss", patience = 2L)
  expect_length(
    fit(classifier(), iris_x, iris_y, epochs = 9, callbacks = patient, verbose = 0)$params$epoch,
    3
  )
  expect_identical(patient$seen, 3L)
  Late <- Callback("Late", inherit = Patient, on_epoch_end = function(epoch, logs) {
    if (epoch > 2) super$on_epoch_end(epoch, logs)
  })
  late <- list(Late(monitor = "loss", patience = 2L))
  expect_length(
    fit(classifier(), iris_x, iris_y, epochs = 9, callbacks = late, verbose = 0)$params$epoch,
    5
  )
})

test_that("callbacks without batch hooks leave many steps in one call", {
  Silent <- Callback("Silent", on_epoch_end = function() NULL)
  heard <- Callback("Heard", on_train_batch_end = function() NULL)
  hears <- function(callback) {
    python <- callback$.__enclos_env__$private$.begin()
    on.exit(callback$.__enclos_env__$private$.end())
    callbacks <- reticulate::import("kerasfit.callbacks.callback_list")$CallbackList(
      list(python),
      classifier()
    )
    callbacks$has_batch_hooks("train")
  }
  expect_false(hears(Silent()))
  expect_true(hears(heard()))
})

test_that("Callback() accepts members in `...`, active members and every form of parent class", {
  Counting <- Callback(
    "Counting",
    value = 7,
    initialize = function(n = 2) {
      super$initialize()
      self$n <- n
    },
    doubled = function() self$n * 2,
    active = list(tripled = function() 3 * self$n),
    private = list(own = 1),
    get_own = function() private$own
  )
  counting <- Counting(5)
  expect_identical(
    c(counting$value, counting$doubled(), counting$tripled, counting$get_own()),
    c(7, 10, 15, 1)
  )
  said <- "outside"
  inside <- list2env(list(said = "inside"), parent = environment())
  Saying <- Callback(
    "Saying",
    on_train_end = function(logs) said <<- paste(said, "changed"),
    parent_env = inside
  )
  fit(regressor(), iris_x, iris_x[, 1], callbacks = Saying(), verbose = 0)
  for (class in list(callback_early_stopping, "EarlyStopping", keras$callbacks$EarlyStopping)) {
    ended <- FALSE
    Stopping <- Callback("Stopping", inherit = class, on_train_end = function(logs) {
      super$on_train_end(logs)
      ended <<- TRUE
    })
    stops <- Stopping(monitor = "loss", min_delta = 1e9, patience = 1L)
    history <- fit(regressor(), iris_x, iris_x[, 1], epochs = 5, callbacks = stops, verbose = 0)
    expect_length(history$metrics$loss, 2)
    expect_true(ended)
  }
  expect_error(
    Callback("X", inherit = "Stopping"),
    "class of callbacks",
    class = "kerasfit_error_argument"
  )
  expect_error(
    Callback("X", inherit = mean),
    "class of callbacks",
    class = "kerasfit_error_argument"
  )
  expect_error(
    Callback("X", on_epoch_ends = function() 1),
    "no hook",
    class = "kerasfit_error_argument"
  )
  expect_error(
    Callback("X", public = list(on_epoch_end = 1)),
    "must be a function",
    class = "kerasfit_error_argument"
  )
})
