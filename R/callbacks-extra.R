#' End training after a given time
#'
#' Training ends within about a tenth of a second of the limit, or at the end of the current step if
#' that takes longer. A run resumed by [callback_backup_and_restore()] continues with the time that
#' was left.
#'
#' @param seconds Seconds since the start of training, or a [difftime].
#' @return A callback: a Python object.
#' @section Errors: `kerasfit_error_argument` if `seconds` is not a number above 0.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy")
#' model |> fit(
#'   as.matrix(iris[1:4]), iris$Species,
#'   epochs = 1e6, callbacks = callback_max_time(1), verbose = 0
#' )
#' @export
callback_max_time <- function(seconds) {
  if (!missing(seconds) && inherits(seconds, "difftime")) {
    seconds <- as.numeric(seconds, units = "secs")
  }
  keras_callback("MaxTime", as.list(environment()), module = core_callbacks())
}

#' Find a learning rate
#'
#' The learning rate range test: the learning rate grows exponentially with each step, from `min_lr`
#' to `max_lr`. Training ends after `steps` steps, or when the smoothed loss exceeds four times its
#' minimum or is not finite. The model and its optimizer are then restored. `plot()` shows the loss
#' by learning rate: a good rate is one where the loss falls fast, well before it rises.
#'
#' @param min_lr,max_lr The first and the last learning rate.
#' @param steps The maximum number of steps. Give `fit()` enough `epochs` for them.
#' @param x The value of `callback_lr_finder()`, after training with it.
#' @param ... Not used.
#' @return `callback_lr_finder()`: a callback, a Python object. `as.data.frame()`: a row for each
#'   step, with the columns `learning_rate`, `loss` and `smoothed`, an exponential moving average
#'   with weight 0.1. `plot()`: a ggplot object, or `x` invisibly if ggplot2 is not installed. The
#'   vertical line is at the rate where the smoothed loss falls fastest, which is also
#'   `x$suggestion`.
#' @section Errors: `kerasfit_error_argument` if a rate is not a number above 0, or if the optimizer
#' has a learning rate schedule.
#' @references L. N. Smith (2017). Cyclical learning rates for training neural networks.
#'   <https://arxiv.org/abs/1506.01186>
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(
#'   keras$layers$Dense(16L, activation = "relu"),
#'   keras$layers$Dense(3L, activation = "softmax")
#' ))
#' model |> compile("adam", "sparse_categorical_crossentropy")
#' finder <- callback_lr_finder()
#' model |> fit(as.matrix(iris[1:4]), iris$Species, epochs = 20, callbacks = finder, verbose = 0)
#' plot(finder)
#' finder$suggestion
#' @export
callback_lr_finder <- function(min_lr = 1e-7, max_lr = 1, steps = 100) {
  keras_callback(
    "LearningRateFinder",
    as.list(environment()),
    whole = "steps",
    module = core_callbacks()
  )
}

#' @rdname callback_lr_finder
#' @export
as.data.frame.kerasfit.LearningRateFinder <- function(x, ...) data_frame_of(x$to_pandas())

#' @rdname callback_lr_finder
#' @export
plot.kerasfit.LearningRateFinder <- function(x, ...) {
  rows <- as.data.frame(x)
  if (!nrow(rows)) {
    abort_kerasfit(
      c("There is nothing to plot yet.", i = "Call `fit()` with this callback first."),
      "state"
    )
  }
  rate <- x$suggestion
  if (!requireNamespace("ggplot2", quietly = TRUE)) {
    plot(
      rows$learning_rate,
      rows$loss,
      log = "x",
      col = "grey60",
      xlab = "learning rate",
      ylab = "loss"
    )
    graphics::lines(rows$learning_rate, rows$smoothed, lwd = 2)
    if (!is.null(rate)) {
      graphics::abline(v = rate, lty = 2)
    }
    return(invisible(x))
  }
  .data <- rlang::.data
  shown <- range(rows$smoothed, finite = TRUE) # an exploding loss would hide the other values
  ggplot2::ggplot(rows, ggplot2::aes(.data$learning_rate)) +
    ggplot2::geom_point(ggplot2::aes(y = .data$loss), colour = "grey60", size = 1, na.rm = TRUE) +
    ggplot2::geom_line(ggplot2::aes(y = .data$smoothed), linewidth = 1, na.rm = TRUE) +
    (if (!is.null(rate)) ggplot2::geom_vline(xintercept = rate, linetype = "dashed")) +
    ggplot2::scale_x_log10() +
    ggplot2::coord_cartesian(ylim = shown) +
    ggplot2::labs(x = "learning rate", y = "loss") +
    ggplot2::theme_minimal()
}

#' One-cycle learning rate schedule
#'
#' The learning rate rises from `max_lr / start_factor` to `max_lr` during the first part of
#' training and falls to `max_lr / end_factor` during the rest, each along half a cosine. It is set
#' before each step, so every step is a separate call; if the model is compiled with
#' `steps_per_execution`, it is set before each such group of steps.
#'
#' @param max_lr The highest learning rate; [callback_lr_finder()] helps to find it.
#' @param warmup The fraction of all steps in which the rate rises.
#' @param start_factor,end_factor How many times smaller the rate is at the beginning and at the
#'   end.
#' @return A callback: a Python object.
#' @section Errors: `kerasfit_error_argument` if a number is not above 0, if the optimizer has a
#' learning rate schedule, or if the number of steps in an epoch is not known.
#' @references L. N. Smith and N. Topin (2019). Super-convergence: very fast training of neural
#'   networks using large learning rates. <https://arxiv.org/abs/1708.07120>
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(
#'   keras$layers$Dense(16L, activation = "relu"),
#'   keras$layers$Dense(3L, activation = "softmax")
#' ))
#' model |> compile("adam", "sparse_categorical_crossentropy")
#' model |> fit(
#'   as.matrix(iris[1:4]), iris$Species,
#'   epochs = 20, callbacks = callback_one_cycle(0.05), verbose = 0
#' )
#' @export
callback_one_cycle <- function(max_lr, warmup = 0.3, start_factor = 25, end_factor = 1e4) {
  keras_callback("OneCycle", as.list(environment()), module = core_callbacks())
}

#' Measure where the time of each epoch goes
#'
#' @param x The value of `callback_profile()`, after training with it.
#' @param ... Not used.
#' @return `callback_profile()`: a callback, a Python object. `as.data.frame()`: a row for each
#'   epoch with its number and the seconds spent in each part: `data`, making batches, unless they
#'   are made inside compiled steps; `steps`; `callbacks`; `validation`, including its data and
#'   callbacks; and `other`. `print()` shows the sums and their shares, and returns `x` invisibly.
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy")
#' batch <- function() {
#'   Sys.sleep(0.01)
#'   rows <- sample(nrow(x), 32)
#'   list(x[rows, ], iris$Species[rows])
#' }
#' profile <- callback_profile()
#' model |> fit(batch, steps_per_epoch = 10, epochs = 3, callbacks = profile, verbose = 0)
#' profile
#' as.data.frame(profile)
#' @export
callback_profile <- function() keras_callback("Profile", module = core_callbacks())

#' @rdname callback_profile
#' @export
as.data.frame.kerasfit.Profile <- function(x, ...) data_frame_of(x$to_pandas())

#' @rdname callback_profile
#' @export
print.kerasfit.Profile <- function(x, ...) {
  rows <- as.data.frame(x)
  seconds <- colSums(rows[-1])
  total <- signif(sum(seconds), 3)
  cat(cli::pluralize("Time spent in {nrow(rows)} epoch{?s}: {total} seconds"), "\n", sep = "")
  if (nrow(rows)) {
    shares <- sprintf(
      "%s  %ss  %3.0f%%",
      format(names(seconds)),
      format(signif(seconds, 3)),
      100 * seconds / sum(seconds)
    )
    cat(shares, sep = "\n")
  }
  invisible(x)
}

#' Configure the progress output
#'
#' Sets what [fit()][fit.keras.src.trainers.trainer.Trainer] prints with a `verbose` of 1 or 2.
#'
#' @param metrics Names of the metrics to show, in this order; `NULL` for all.
#' @param digits Number of decimals of metrics.
#' @param every Number of epochs between two lines; the last epoch always has a line.
#' @param bar Whether to show a progress bar during an epoch.
#' @return A callback: a Python object.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' model |> fit(
#'   as.matrix(iris[1:4]), iris$Species,
#'   epochs = 100, callbacks = callback_progress("accuracy", digits = 2, every = 20)
#' )
#' @export
callback_progress <- function(metrics = NULL, digits = 4, every = 1, bar = TRUE) {
  keras_callback(
    "ProgressStyle",
    as.list(environment()),
    whole = c("digits", "every"),
    module = core_callbacks()
  )
}

#' Write the metrics of each epoch to a file
#'
#' In contrast to [callback_csv_logger()], epochs count from 1, the file may be JSON lines, and
#' validation metrics are included even if validation does not run in the first epoch. In a run that
#' [callback_backup_and_restore()] resumes, the file continues after the rows that it had at the
#' stored state, regardless of `append`. The encoding is UTF-8.
#'
#' @param filename The file: JSON lines if its name ends in `.jsonl`, `.ndjson` or `.json`,
#'   otherwise CSV.
#' @param append Whether to append to an existing file. If not, its contents are replaced when the
#'   first row is written.
#' @return A callback: a Python object. Each row of the file has the `epoch`, the `seconds` since
#'   training began, and the metrics. A value that was not measured is empty in CSV and missing in
#'   JSON. A metric named epoch or seconds is in the column `epoch_metric` or `seconds_metric`.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' file <- tempfile(fileext = ".csv")
#' model |> fit(
#'   as.matrix(iris[1:4]), iris$Species,
#'   epochs = 4, validation_split = 0.2, validation_freq = 2, verbose = 0,
#'   callbacks = callback_log(file)
#' )
#' read.csv(file)
#' @export
callback_log <- function(filename, append = FALSE) {
  keras_callback(
    "MetricsLog",
    as.list(environment()),
    paths = "filename",
    module = core_callbacks()
  )
}

#' Convert a pandas data frame of numbers; reticulate does not recognise those of pandas 3
#' @noRd
data_frame_of <- function(frame) {
  columns <- if (is.data.frame(frame)) as.list(frame) else frame$to_dict("list")
  as.data.frame(lapply(columns, unlist))
}
