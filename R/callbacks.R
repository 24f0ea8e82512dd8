#' Keras's callbacks
#'
#' Callbacks are code that runs during training. Pass them to the argument `callbacks` of
#' [fit()][fit.keras.src.trainers.trainer.Trainer], alone or in a list. These are Keras's own
#' callbacks. Whole numbers are written as usual in R (`patience = 3`), and epochs count from 1.
#'
#' * `callback_early_stopping()` ends training when a metric has stopped improving.
#' * `callback_model_checkpoint()` saves the model or its weights after epochs or batches.
#' * `callback_reduce_lr_on_plateau()` reduces the learning rate when a metric has stopped
#'   improving.
#' * `callback_learning_rate_scheduler()` sets the learning rate of each epoch.
#' * `callback_terminate_on_nan()` ends training when the loss is no longer finite.
#' * `callback_swap_ema_weights()` evaluates with the moving averages of the weights, for optimizers
#'   with `use_ema`.
#' * `callback_csv_logger()` writes a line for each epoch to a file. It counts epochs from 0, as
#'   Keras does; [callback_log()] counts from 1.
#' * `callback_tensorboard()` writes logs for TensorBoard.
#' * `callback_remote_monitor()` sends the metrics of each epoch to a server by HTTP.
#' * `callback_lambda()` calls functions. A list of functions named after hooks does the same, see
#'   [Callback()].
#'
#' @param monitor The name of the metric to watch, as in the history: "val_loss", "accuracy". A name
#'   that cannot occur in the logs is an error before the first step. If one of your callbacks or
#'   the model's own training step may add metrics to the logs, the name is checked after the first
#'   epoch.
#' @param min_delta The smallest change that counts as an improvement.
#' @param patience Number of epochs to wait for an improvement; `Inf` waits for ever.
#' @param verbose 0: silent. 1: report each action.
#' @param mode "min" or "max": whether lower or higher values are better. "auto": decided by the
#'   name of the metric.
#' @param baseline A value that the metric must improve on, or NULL.
#' @param restore_best_weights Whether to restore the weights of the best epoch at the end of
#'   training.
#' @param start_from_epoch Number of epochs before the metric is watched.
#' @param filepath The file to save to, ending in `.keras`, or in `.weights.h5` for weights only.
#'   `{epoch}`, counted from 1, and names of metrics in braces are replaced by their values:
#'   `"model-{epoch:02d}-{val_loss:.2f}.keras"`.
#' @param save_best_only Whether to save only when the metric is better than ever before.
#' @param save_weights_only Whether to save the weights only.
#' @param save_freq "epoch", or the number of batches after which to save.
#' @param initial_value_threshold A value that the metric must improve on before the first save, or
#'   NULL.
#' @param factor The factor by which to multiply the learning rate.
#' @param cooldown Number of epochs to wait after a change of the learning rate.
#' @param min_lr The smallest learning rate.
#' @param schedule A function of the epoch and the current learning rate that returns the learning
#'   rate for that epoch. It may have only the first argument, or none.
#' @param first_epoch The number that `schedule` gets for the first epoch: 1, or 0 while the package
#'   keras3 is attached, whose function of this name counts from 0. All other functions in R count
#'   epochs from 1, with keras3 as well.
#' @param filename The file to write.
#' @param separator The character between two values.
#' @param append Whether to append to an existing file.
#' @param log_dir The folder for the logs.
#' @param histogram_freq,embeddings_freq Number of epochs between logs of histograms and embeddings;
#'   0 for none.
#' @param write_graph,write_images,write_steps_per_second Whether to log the graph, the weights as
#'   images, and the speed.
#' @param update_freq "epoch", "batch", or a number of batches.
#' @param profile_batch The batch to profile, or `c(first, last)`; 0 for none.
#' @param embeddings_metadata A named list of layers and the files with their metadata, or NULL.
#' @param raise_error Whether to raise an error instead of ending training, in versions of Keras
#'   that support it.
#' @param swap_on_epoch Whether to swap at each epoch, instead of only for evaluation and
#'   prediction.
#' @param root,path The server, and the path to send to.
#' @param field The form field for the JSON, if it is sent in a form.
#' @param headers A named list of HTTP headers, or NULL.
#' @param send_as_json Whether to send JSON instead of a form.
#' @param on_epoch_begin,on_epoch_end Functions of the epoch, counted from 1, and a named list of
#'   metrics.
#' @param on_train_begin,on_train_end Functions of a named list of metrics.
#' @param on_train_batch_begin,on_train_batch_end Functions of the batch, counted from 1, and a
#'   named list of metrics.
#' @param ... For `callback_lambda()`, functions named after other hooks, such as `on_test_begin`.
#'   For `callback_reduce_lr_on_plateau()`, further arguments of Keras's callback.
#' @return A callback: a Python object.
#' @section Errors: `kerasfit_error_argument` if an argument is not valid.
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' file <- tempfile(fileext = ".csv")
#' history <- model |> fit(
#'   x, iris$Species,
#'   epochs = 50, validation_split = 0.2, verbose = 0,
#'   callbacks = list(
#'     callback_early_stopping(patience = 3, restore_best_weights = TRUE),
#'     callback_learning_rate_scheduler(function(epoch, lr) if (epoch > 10) lr * 0.9 else lr),
#'     callback_csv_logger(file)
#'   )
#' )
#' history
#' head(read.csv(file))
#' @name callbacks
#' @seealso [Callback()], [callback_backup_and_restore()]
NULL

#' @rdname callbacks
#' @export
callback_early_stopping <- function(
  monitor = "val_loss",
  min_delta = 0,
  patience = 0,
  verbose = 0,
  mode = "auto",
  baseline = NULL,
  restore_best_weights = FALSE,
  start_from_epoch = 0
) {
  keras_callback(
    "EarlyStopping",
    as.list(environment()),
    whole = c("patience", "verbose", "start_from_epoch"),
    numbers = "baseline"
  )
}

#' @rdname callbacks
#' @export
callback_model_checkpoint <- function(
  filepath,
  monitor = "val_loss",
  verbose = 0,
  save_best_only = FALSE,
  save_weights_only = FALSE,
  mode = "auto",
  save_freq = "epoch",
  initial_value_threshold = NULL
) {
  keras_callback(
    "ModelCheckpoint",
    as.list(environment()),
    whole = c("verbose", "save_freq"),
    paths = "filepath",
    numbers = "initial_value_threshold"
  )
}

#' @rdname callbacks
#' @export
callback_reduce_lr_on_plateau <- function(
  monitor = "val_loss",
  factor = 0.1,
  patience = 10,
  verbose = 0,
  mode = "auto",
  min_delta = 1e-4,
  cooldown = 0,
  min_lr = 0,
  ...
) {
  keras_callback(
    "ReduceLROnPlateau",
    as.list(environment()),
    whole = c("patience", "verbose", "cooldown"),
    ...
  )
}

#' @rdname callbacks
#' @export
callback_learning_rate_scheduler <- function(
  schedule,
  verbose = 0,
  first_epoch = if (is_attached("keras3")) 0 else 1
) {
  call <- sys.call()
  if (missing(schedule)) {
    abort_argument("schedule", "`schedule` must be given.", call)
  }
  if (!is.function(schedule)) {
    abort_argument(
      "schedule",
      sprintf("`schedule` must be a function, not %s.", describe(schedule)),
      call
    )
  }
  if (!is_whole(first_epoch) || length(first_epoch) != 1 || !first_epoch %in% 0:1) {
    abort_argument(
      "first_epoch",
      sprintf("`first_epoch` must be 0 or 1, not %s.", describe(first_epoch)),
      call
    )
  }
  rate <- match_arguments(schedule, c("epoch", "lr"))
  checked <- function(epoch, lr) {
    value <- rate(epoch - 1L + as.integer(first_epoch), lr)
    if (!is.numeric(value) || length(value) != 1 || is.na(value)) {
      abort_argument(
        "schedule",
        sprintf("`schedule` must return a number, not %s.", describe(value)),
        call
      )
    }
    as.double(value)
  }
  schedule <- bridge$schedule(reticulate::r_to_py(checked, convert = TRUE))
  keras_callback(
    "LearningRateScheduler",
    list(schedule = schedule, verbose = verbose),
    whole = "verbose"
  )
}

#' @rdname callbacks
#' @export
callback_csv_logger <- function(filename, separator = ",", append = FALSE) {
  call <- sys.call()
  if (!rlang::is_string(separator) || nchar(separator) != 1) {
    abort_argument(
      "separator",
      sprintf("`separator` must be one character, not %s.", describe(separator)),
      call
    )
  }
  if (
    !missing(filename) &&
      rlang::is_string(filename) &&
      !dir.exists(dirname(path_to_core(filename, "filename", call)))
  ) {
    abort_argument(
      "filename",
      sprintf("The folder of `filename`, %s, does not exist.", dirname(filename)),
      call
    )
  }
  keras_callback("CSVLogger", as.list(environment()), paths = "filename")
}

#' @rdname callbacks
#' @export
callback_tensorboard <- function(
  log_dir = "logs",
  histogram_freq = 0,
  write_graph = TRUE,
  write_images = FALSE,
  write_steps_per_second = FALSE,
  update_freq = "epoch",
  profile_batch = 0,
  embeddings_freq = 0,
  embeddings_metadata = NULL
) {
  keras_callback(
    "TensorBoard",
    as.list(environment()),
    whole = c("histogram_freq", "update_freq", "profile_batch", "embeddings_freq"),
    paths = "log_dir",
    lists = "embeddings_metadata"
  )
}

#' @rdname callbacks
#' @export
callback_terminate_on_nan <- function(raise_error = FALSE) {
  keras_callback("TerminateOnNaN", as.list(environment()), module = core_callbacks())
}

#' @rdname callbacks
#' @export
callback_swap_ema_weights <- function(swap_on_epoch = FALSE) {
  keras_callback("SwapEMAWeights", as.list(environment()))
}

#' @rdname callbacks
#' @export
callback_remote_monitor <- function(
  root = "http://localhost:9000",
  path = "/publish/epoch/end/",
  field = "data",
  headers = NULL,
  send_as_json = FALSE
) {
  keras_callback("RemoteMonitor", as.list(environment()), lists = "headers")
}

#' @rdname callbacks
#' @export
callback_lambda <- function(
  on_epoch_begin = NULL,
  on_epoch_end = NULL,
  on_train_begin = NULL,
  on_train_end = NULL,
  on_train_batch_begin = NULL,
  on_train_batch_end = NULL,
  ...
) {
  hooks <- list(
    on_epoch_begin = on_epoch_begin,
    on_epoch_end = on_epoch_end,
    on_train_begin = on_train_begin,
    on_train_end = on_train_end,
    on_train_batch_begin = on_train_batch_begin,
    on_train_batch_end = on_train_batch_end
  )
  hooks <- c(hooks, collect_dots(...))
  hooks <- Filter(Negate(is.null), hooks)
  check_hooks(hooks, sys.call())
  bridge$FunctionCallback(hooks_to_core(hooks))
}
