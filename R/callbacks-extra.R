#' End training after a time
#'
#' Training ends within about a tenth of a second of the time, or a step if that takes longer. A run that
#' [callback_backup_and_restore()] resumes goes on with the time that was left.
#'
#' @param seconds Seconds from the beginning of training, or a [difftime].
#' @return A callback: a Python object.
#' @section Errors: `kerasfit_error_argument` if `seconds` is no number above 0.
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
  keras_callback("MaxTime", module = core_callbacks())
}

#' Find a learning rate
#'
#' The learning rate range test: training with a rate that grows exponentially with each step, from `min_lr` to `max_lr`.
#' It ends after `steps` steps, or when the smoothed loss is four times its smallest value or not finite. The model and its
#' optimizer are then what they were before. `plot()` shows the loss by the rate: a good rate is one where it falls fast,
#' well before it rises.
#'
#' @param min_lr,max_lr The first and the last learning rate.
#' @param steps How many steps to make, at most; give `fit()` as many `epochs` as that takes.
#' @param x What `callback_lr_finder()` has returned, after training with it.
#' @param ... Not used.
#' @return `callback_lr_finder()`: a callback, a Python object. `as.data.frame()`: a row for each step, with the columns
#'   `learning_rate`, `loss` and `smoothed`, an exponential moving average of weight 0.1. `plot()`: a ggplot, or `x`
#'   invisibly if ggplot2 is not installed. Its vertical line is at the rate where the smoothed loss falls fastest, which is
#'   also `x$suggestion`.
#' @section Errors: `kerasfit_error_argument` if a rate is no number above 0, or if the optimizer has a schedule for it.
#' @references L. N. Smith (2017). Cyclical learning rates for training neural networks. <https://arxiv.org/abs/1506.01186>
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
  keras_callback("LearningRateFinder", whole = "steps", module = core_callbacks())
}

#' @rdname callback_lr_finder
#' @export
as.data.frame.kerasfit.extras.LearningRateFinder <- function(x, ...) data_frame_of(x$to_pandas())

#' @rdname callback_lr_finder
#' @export
plot.kerasfit.extras.LearningRateFinder <- function(x, ...) {
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
  shown <- range(rows$smoothed, finite = TRUE) # a loss that explodes would hide the rest
  ggplot2::ggplot(rows, ggplot2::aes(.data$learning_rate)) +
    ggplot2::geom_point(ggplot2::aes(y = .data$loss), colour = "grey60", size = 1, na.rm = TRUE) +
    ggplot2::geom_line(ggplot2::aes(y = .data$smoothed), linewidth = 1, na.rm = TRUE) +
    (if (!is.null(rate)) ggplot2::geom_vline(xintercept = rate, linetype = "dashed")) +
    ggplot2::scale_x_log10() +
    ggplot2::coord_cartesian(ylim = shown) +
    ggplot2::labs(x = "learning rate", y = "loss") +
    ggplot2::theme_minimal()
}

#' One cycle of the learning rate
#'
#' The rate rises from `max_lr / start_factor` to `max_lr` in the share `warmup` of all steps, and falls to
#' `max_lr / end_factor` in the rest, along half a cosine each. It is set before each step, so each step is a call of its own.
#'
#' @param max_lr The highest learning rate; [callback_lr_finder()] helps to find it.
#' @param warmup The share of the steps in which the rate rises.
#' @param start_factor,end_factor How many times smaller the rate is at the beginning and at the end.
#' @return A callback: a Python object.
#' @section Errors: `kerasfit_error_argument` if a number is not above 0, if the optimizer has a schedule for its rate, or
#'   if it is not known how many steps an epoch has.
#' @references L. N. Smith and N. Topin (2019). Super-convergence: very fast training of neural networks using large learning
#'   rates. <https://arxiv.org/abs/1708.07120>
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
  keras_callback("OneCycle", module = core_callbacks())
}

#' See where the time of each epoch goes
#'
#' @param x What `callback_profile()` has returned, after training with it.
#' @param ... Not used.
#' @return `callback_profile()`: a callback, a Python object. `as.data.frame()`: a row for each epoch, with its number and
#'   seconds: `data`, making batches, as far as they are not made inside compiled steps; `steps`; `callbacks`; `validation`,
#'   with its data and callbacks; and `other`. `print()`: `x`, invisibly; it shows the sums and their shares.
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
as.data.frame.kerasfit.extras.Profile <- function(x, ...) data_frame_of(x$to_pandas())

#' @rdname callback_profile
#' @export
print.kerasfit.extras.Profile <- function(x, ...) {
  rows <- as.data.frame(x)
  seconds <- colSums(rows[-1])
  cat(sprintf(
    "Where %.3g seconds of %d %s went:\n",
    sum(seconds),
    nrow(rows),
    if (nrow(rows) == 1) "epoch" else "epochs"
  ))
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

#' How progress is shown
#'
#' For [fit()][fit.keras.src.trainers.trainer.Trainer] with a `verbose` of 1 or 2.
#'
#' @param metrics Names of the metrics that are shown, in this order; `NULL` for all.
#' @param digits Decimals of metrics.
#' @param every After how many epochs there is a line; the last of `epochs` has one always.
#' @param bar Whether there is a bar while an epoch runs.
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
  keras_callback("ProgressStyle", whole = c("digits", "every"), module = core_callbacks())
}

#' Write the metrics of each epoch to a file
#'
#' Unlike the file of [callback_csv_logger()], this one counts epochs from 1, may be JSON lines, and has validation metrics
#' also if validation does not run in the first epoch. In a run that [callback_backup_and_restore()] resumes, it goes on with
#' the rows that it had at the stored state, whatever `append` is. It is text in UTF-8.
#'
#' @param filename The file: JSON lines if its name ends in `.jsonl`, `.ndjson` or `.json`, else CSV.
#' @param append Whether to go on with a file that is there. If not, the row of the first epoch replaces what is in it.
#' @return A callback: a Python object. A row of the file has the `epoch`, `seconds` since training began, and the metrics;
#'   a value that was not measured is empty in CSV and not there in JSON. A metric that is called epoch or seconds itself is in
#'   a column `epoch_metric` or `seconds_metric`.
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
  keras_callback("MetricsLog", paths = "filename", module = core_callbacks())
}

#' A pandas data frame of numbers; reticulate does not know that of pandas 3
#' @noRd
data_frame_of <- function(frame) as.data.frame(lapply(frame$to_dict("list"), unlist))
