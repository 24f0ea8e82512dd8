# Callbacks made in R: Keras's by functions, and classes of functions.

skip_on_cran()

#' What a function of Keras has as arguments, with the defaults as R values
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
  # no callbacks for users: the base, those of every run, and those of other ways to call the model's own fit()
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

test_that("a time may have units", {
  expect_identical(callback_max_time(as.difftime(2, units = "hours"))$seconds, 7200)
})

test_that("the batch that makes the loss infinite is counted from 1", {
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

test_that("a class in R hears hooks with numbers from 1, and says stop", {
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
  expect_identical(recorder$model, model)
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

test_that("functions that hear no batch leave many steps in one call", {
  Silent <- Callback("Silent", on_epoch_end = function() NULL)
  heard <- Callback("Heard", on_train_batch_end = function() NULL)
  hears <- function(callback) {
    python <- callback$.__enclos_env__$private$.begin()
    on.exit(callback$.__enclos_env__$private$.end())
    callbacks <- reticulate::import("kerasfit.callbacks")$Callbacks(list(python), classifier())
    callbacks$hear_batches("train")
  }
  expect_false(hears(Silent()))
  expect_true(hears(heard()))
})

test_that("mistakes in callbacks are told where they are made", {
  expect_error(
    callback_early_stopping(patience = 1.5),
    "`patience` must be a whole number, not 1.5",
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
    "no hook of the name `on_pause`",
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

test_that("arguments of callbacks that cannot be used are refused, by name", {
  refused <- function(code, argument, message) {
    error <- expect_error(code, message, fixed = TRUE, class = "kerasfit_error_argument")
    expect_identical(error$argument, argument)
  }
  for (patience in list(NA, "3", c(1, 2), NULL, 1.5, -Inf)) {
    refused(
      callback_early_stopping(patience = patience),
      "patience",
      "`patience` must be a whole number, not "
    )
  }
  refused(
    callback_early_stopping(monitor = NULL),
    "monitor",
    "`monitor` must be a string, not NULL."
  )
  refused(
    callback_early_stopping(min_delta = "a"),
    "min_delta",
    "`min_delta` must be a number, not \"a\"."
  )
  refused(
    callback_early_stopping(baseline = "a"),
    "baseline",
    "`baseline` must be a number, not \"a\"."
  )
  refused(
    callback_early_stopping(restore_best_weights = NA),
    "restore_best_weights",
    "must be TRUE or FALSE, not NA."
  )
  refused(
    callback_early_stopping(mode = "most"),
    "mode",
    "`mode` must be one of \"auto\", \"min\", \"max\", not \"most\"."
  )
  refused(
    callback_reduce_lr_on_plateau(factor = NaN),
    "factor",
    "`factor` must be a number, not NaN."
  )
  refused(
    callback_model_checkpoint(c("a.keras", "b.keras")),
    "filepath",
    "`filepath` must be the path of a file"
  )
  refused(
    callback_model_checkpoint("a.keras", save_freq = "batch"),
    "save_freq",
    "`save_freq` must be \"epoch\" or a whole number, not \"batch\"."
  )
  refused(callback_model_checkpoint(), "filepath", "`filepath` must be given.")
  refused(callback_learning_rate_scheduler(), "schedule", "`schedule` must be given.")
  refused(callback_max_time(), "seconds", "`seconds` must be given.")
  error <- tryCatch(callback_early_stopping(patience = "3"), error = identity)
  expect_identical(conditionCall(error), quote(callback_early_stopping()))
})

test_that("a patience of Inf never ends", {
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

test_that("learning rates are set by an R function of the epoch", {
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

test_that("a run with an R generator and R callbacks goes on where it crashed", {
  dir <- withr::local_tempdir()
  Counter <- Callback(
    "Counter",
    on_epoch_begin = function(epoch) if (epoch == self$crash) stop("crash"),
    on_epoch_end = function() self$count <- self$count + 1,
    public = list(
      count = 0,
      crash = 0,
      initialize = function(crash) self$crash <- crash,
      get_state = function() list(count = self$count),
      set_state = function(state) self$count <- state$count
    )
  )
  run <- function(crash = 0) {
    model <- classifier()
    counter <- Counter(crash)
    batch <- function() {
      rows <- sample(150, 32)
      list(iris_x[rows, ], iris_y[rows])
    }
    backup <- callback_backup_and_restore(file.path(dir, "state"), save_freq = 3)
    history <- fit(
      model,
      batch,
      steps_per_epoch = 4,
      epochs = 6,
      callbacks = list(counter, backup),
      validation_data = list(iris_x, iris_y),
      verbose = 0
    )
    list(model$get_weights(), history$metrics, counter$count, runif(1))
  }
  whole <- run()
  expect_error(run(3), class = "kerasfit_error_user")
  expect_error(run(5), class = "kerasfit_error_user")
  expect_identical(run(), whole)
  expect_false(dir.exists(file.path(dir, "state")))
  expect_error(run(3), class = "kerasfit_error_user")
  writeLines("nothing", file.path(dir, "state", "state.npz"))
  expect_error(run(), "damaged, or no state", class = "kerasfit_error_argument")
})

test_that("what Keras does not have: a time limit, a rate finder, a cycle, a profile, a style of progress", {
  model <- classifier()
  fit(model, iris_x, iris_y, verbose = 0) # compiles, which may take longer than the time there is
  many <- fit(model, iris_x, iris_y, epochs = 1e6, callbacks = callback_max_time(2), verbose = 0)
  expect_gt(length(many$params$epoch), 2)

  finder <- callback_lr_finder(max_lr = 10)
  expect_error(plot(finder), "nothing to plot yet", class = "kerasfit_error_state")
  fit(classifier(), iris_x, iris_y, epochs = 20, callbacks = finder, verbose = 0)
  steps <- as.data.frame(finder)
  expect_named(steps, c("learning_rate", "loss", "smoothed"))
  expect_gt(finder$suggestion, 1e-7)
  expect_s3_class(plot(finder), "ggplot")

  fit(classifier(), iris_x, iris_y, epochs = 2, callbacks = callback_one_cycle(0.1), verbose = 0)

  profile <- callback_profile()
  fit(classifier(), iris_x, iris_y, epochs = 3, callbacks = profile, verbose = 0)
  expect_named(
    as.data.frame(profile),
    c("epoch", "data", "steps", "callbacks", "validation", "other")
  )
  expect_output(print(profile), "Where [0-9.e-]+ seconds of 3 epochs went:\ndata ")

  style <- callback_progress("accuracy", digits = 1, every = 2)
  expect_output(
    fit(classifier(), iris_x, iris_y, epochs = 3, callbacks = style, verbose = 2),
    "^Epoch 2/3 - [^\n]+ - accuracy: [0-9]\\.[0-9]\nEpoch 3/3[^\n]*$"
  )
  expect_error(
    callback_max_time("long"),
    "`seconds` must be a number above 0",
    class = "kerasfit_error_argument"
  )
})

# ---- jumps out of functions that Python has called -------------------------------------------------------------

test_that("a handler outside of fit() may end it for a condition in a function of the user's", {
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
  # from another depth of the stack, Python still works
  compile(model, "sgd", "mse")
  deeper <- function(n) if (n) deeper(n - 1) else train()
  expect_s3_class(deeper(5), "keras_training_history")
})

test_that("conditions that nobody ends fit() for do what they do elsewhere", {
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
  expect_match(conditionMessage(error), "would have jumped out of fit\\(\\)")
  expect_match(conditionMessage(error), "on_epoch_end")
})

test_that("the condition of an error in a function of the user's is kept as it is", {
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

test_that("a hook that returns a named list updates the logs", {
  f1 <- Callback("F1", on_epoch_end = function(epoch, logs = NULL) {
    logs$val_f1 <- epoch / 10
    logs
  })
  stopping <- callback_early_stopping("val_f1", mode = "min", patience = 1)
  history <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 5,
    callbacks = list(f1(), stopping),
    verbose = 0
  )
  expect_identical(history$metrics$val_f1, c(0.1, 0.2))

  file <- withr::local_tempfile(fileext = ".csv")
  twice <- list(on_epoch_end = function(epoch, logs) {
    list(twice = 2 * logs$loss, many = 1:2, text = "no number", with = NULL, layers = keras$layers)
  })
  history <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 2,
    callbacks = list(twice, callback_csv_logger(file)),
    verbose = 0
  )
  expect_equal(history$metrics$twice, 2 * history$metrics$loss)
  expect_named(history$metrics, c("loss", "accuracy", "twice"))
  expect_equal(utils::read.csv(file)$twice, history$metrics$twice, tolerance = 1e-5)

  # of a batch, those that come later see it
  seen <- NULL
  batches <- list(
    list(on_train_batch_end = function(batch, logs) list(number = batch)),
    list(on_train_batch_end = function(batch, logs) {
      seen <<- c(seen, logs$number)
      invisible()
    })
  )
  fit(classifier(), iris_x, iris_y, batch_size = 50, callbacks = batches, verbose = 0)
  expect_identical(as.integer(seen), 1:3)

  # what is no named list changes nothing
  for (value in list(NULL, 1, c(loss = 0), "a", list(0), iris)) {
    history <- fit(
      regressor(),
      iris_x,
      iris_x[, 1],
      callbacks = list(on_epoch_end = function() value),
      verbose = 0
    )
    expect_named(history$metrics, "loss")
  }
})

test_that("each hook gets what Keras gives it, an empty named list where there are no logs", {
  given <- list()
  hook <- function(name) {
    force(name)
    function(...) {
      given[[name]] <<- list(...)
      invisible()
    }
  }
  hooks <- stats::setNames(nm = names(callback_hooks))
  hooks <- lapply(hooks[!hooks %in% c("on_batch_begin", "on_batch_end")], hook)
  model <- classifier()
  fit(model, iris_x, iris_y, validation_split = 0.2, callbacks = hooks, verbose = 0)
  predict(model, iris_x, callbacks = hooks, verbose = 0)
  expect_setequal(names(given), names(hooks))
  for (name in names(given)) {
    expect_length(given[[name]], length(callback_hooks[[name]]))
    logs <- given[[name]][[length(given[[name]])]]
    expect_type(logs, "list")
    if (grepl("_begin$|predict_end$", name)) expect_identical(unname(logs), list(), label = name)
  }
  takes_logs <- Callback("Takes", on_predict_end = function(logs) stopifnot(is.list(logs)))
  expect_identical(dim(predict(model, iris_x, callbacks = takes_logs(), verbose = 0)), c(150L, 3L))
})

test_that("Callback() takes members in `...`, active ones, and a class to inherit from in any form", {
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
    "no hook of the name",
    class = "kerasfit_error_argument"
  )
  expect_error(
    Callback("X", public = list(on_epoch_end = 1)),
    "must be a function",
    class = "kerasfit_error_argument"
  )
})

test_that("a function by the name of a hook is a callback beside others", {
  seen <- character()
  note <- function(word) seen <<- c(seen, word)
  callbacks <- list(
    on_epoch_end = function() note("first"),
    stop = callback_early_stopping("loss"),
    Callback("Own", on_epoch_end = function() note("second"))(),
    list(on_epoch_end = function() note("third"), on_train_end = function() note("end"))
  )
  fit(classifier(), iris_x, iris_y, callbacks = callbacks, verbose = 0)
  expect_identical(seen, c("first", "second", "third", "end"))
})
