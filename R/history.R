#' The history of a training run
#'
#' What [fit()][fit.keras.src.trainers.trainer.Trainer] returns: plain R values, which can be saved with [saveRDS()] and need
#' no Python to be printed, plotted or analysed.
#'
#' @format A list of class `keras_training_history`:
#' \describe{
#'   \item{`params`}{A named list: `epochs` and `initial_epoch` as they were given; `epoch`, the epoch of each
#'     row of the metrics, counted from 1; `seconds` that each took, with its validation; `steps` in an epoch; `samples`
#'     and `validation_samples`; `batch_size`; `verbose`; `interrupted`, whether the user ended training. What is not
#'     known, such as the number of samples of a generator, is `NA`. If `y` was a factor, `levels` has its levels, in
#'     the order of the classes; for several outputs a named list.}
#'   \item{`metrics`}{A named list of numeric vectors, each with one value for each epoch that was trained:
#'     `loss`, the metrics, and both again with `val_` in front for the validation data. `NA` where a value was not
#'     measured, as in epochs without validation.}
#' }
#' @param x,object A `keras_training_history`.
#' @param row.names,optional Not used.
#' @param i Epochs: their numbers, as the history has them; negative ones are left out. Or names of the list.
#' @param ... For `c()`, histories of the same model that were trained one after the other; for `head()` and `tail()`,
#'   how many epochs, as for a vector; else not used.
#' @details
#' `c()` joins runs that go on from one another. Epochs that were trained again, as after an interrupt, are those of the
#' later run. A run that does not begin after the first epoch of the one before, because `initial_epoch` was not given, is
#' taken as its continuation, and its epochs are numbered so.
#'
#' For `summary()` more is better if a metric's name says so: accuracy, AUC, precision, recall, F score, IoU, R2,
#' similarity; else less is. The best epoch of a history, for `glance()` and the mark in the plot, is that with the
#' lowest validation loss, or, without validation, with the lowest loss.
#' @return `as.data.frame()`: one row for each epoch, metric and data set, with the columns `epoch` (integer), `value`,
#'   `metric` (a factor, `val_` removed) and `data` (a factor with the levels training and validation).
#'   `as_tibble()` and `tidy()`: the same as a tibble. `glance()`: one row (a tibble, if that package is installed):
#'   `epochs`, how many were trained; `best_epoch`; `seconds` in all and `seconds_per_epoch`; `interrupted`; and the
#'   value of each metric after the last epoch. `summary()`: a row for each metric with its first, last and best value and
#'   the epoch of the best. `format()`: the lines that `print()` shows. `c()`, `[`, `head()` and `tail()`: a history. `print()`: its
#'   argument, invisibly.
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' history <- model |> fit(x, iris$Species, epochs = 3, shuffle = FALSE, verbose = 0)
#' history
#' subset(as.data.frame(history), metric == "loss")
#' summary(history)
#' more <- model |> fit(x, iris$Species, initial_epoch = 4, epochs = 5, shuffle = FALSE, verbose = 0)
#' c(history, more)[2:4]
#' @name keras_training_history
NULL

#' A history as the core records it, as R values
#' @noRd
as_training_history <- function(history) {
  values <- from_core(bridge$history_values(history))
  params <- lapply(values$params, function(value) value %||% NA_integer_)
  params$epoch <- as.integer(values$epoch)
  params$seconds <- as.double(values$seconds)
  metrics <- Map(
    function(value, measured) {
      value <- as.double(value)
      value[!measured] <- NA
      value
    },
    values$values,
    values$measured
  )
  structure(
    list(params = params, metrics = metrics),
    class = c("kerasfit_history", "keras_training_history")
  )
}

#' The epoch of each row. Histories that other packages made do not say; theirs count from 1.
#' @noRd
history_epochs <- function(history) {
  rows <- if (length(history$metrics)) length(history$metrics[[1]]) else 0L
  as.integer(history$params[["epoch"]] %||% seq_len(rows))
}

#' @rdname keras_training_history
#' @export
as.data.frame.kerasfit_history <- function(x, row.names = NULL, optional = FALSE, ...) {
  columns <- as.character(names(x$metrics))
  validation <- startsWith(columns, "val_")
  metric <- sub("^val_", "", columns)
  epochs <- as.integer(history_epochs(x))
  data.frame(
    epoch = rep(epochs, length(columns)),
    value = as.double(unlist(x$metrics, use.names = FALSE)),
    metric = factor(rep(metric, each = length(epochs)), unique(metric)),
    data = factor(
      rep(ifelse(validation, "validation", "training"), each = length(epochs)),
      c("training", "validation")
    )
  )
}

#' @rdname keras_training_history
#' @export
print.kerasfit_history <- function(x, ...) {
  cat(format(x), sep = "\n")
  invisible(x)
}

#' @rdname keras_training_history
#' @export
format.keras_training_history <- function(x, ...) {
  history <- x
  epochs <- history_epochs(history)
  if (!length(epochs)) {
    return(sprintf(
      "Training history: no epoch was trained%s.",
      if (isTRUE(history$params$interrupted)) " to its end" else ""
    ))
  }
  params <- history$params
  known <- function(name) {
    value <- params[[name]]
    # the decimal mark of `options(OutDec = )` could be that same comma
    if (!is.null(value) && !is.na(value)) format(value, big.mark = ",", decimal.mark = ".")
  }
  facts <- c(
    if (!is.null(known("samples"))) paste(known("samples"), "samples"),
    if (!is.null(known("validation_samples"))) paste(known("validation_samples"), "to validate on"),
    if (!is.null(known("batch_size"))) paste("batches of", known("batch_size")),
    if (!is.null(known("steps"))) {
      paste(known("steps"), if (identical(known("steps"), "1")) "step" else "steps", "per epoch")
    }
  )
  seconds <- if (length(params$seconds)) paste(",", format_seconds(sum(params$seconds)))
  c(
    paste0(
      "Training history: ",
      format_epochs(epochs),
      seconds,
      if (isTRUE(params$interrupted)) ", then interrupted"
    ),
    if (length(facts)) paste(facts, collapse = ", "),
    format_last_row(history, epochs[length(epochs)])
  )
}

#' The last value of each metric, with validation beside training
#' @noRd
format_last_row <- function(history, epoch) {
  if (!length(history$metrics)) {
    return("No metrics.")
  }
  last <- vapply(history$metrics, function(values) values[length(values)], numeric(1))
  metric <- unique(sub("^val_", "", names(last)))
  cells <- cbind(training = last[metric], validation = last[paste0("val_", metric)])
  rownames(cells) <- metric
  cells <- cells[, c(TRUE, any(startsWith(names(last), "val_"))), drop = FALSE]
  table <- rbind(colnames(cells), format(cells, digits = 4))
  label <- format(c(sprintf("Epoch %d", epoch), metric))
  lines <- apply(format(table, justify = "right"), 1, paste, collapse = "  ")
  shown <- utils::head(paste0(label, "  ", lines), 7)
  hidden <- nrow(table) - length(shown)
  unname(c(shown, if (hidden) sprintf("... and %d more metrics", hidden)))
}

#' @rdname keras_training_history
#' @export
`[.keras_training_history` <- function(x, i, ...) {
  call <- user_call("[")
  if (missing(i)) {
    return(x)
  }
  if (is.character(i)) {
    return(unclass(x)[i])
  }
  i <- plain_numbers(i)
  epochs <- history_epochs(x)
  # a condition on a metric has missing values in epochs without validation
  if (is.numeric(i) && anyNA(i)) {
    abort_argument("i", "`i` must have no missing values.", call)
  }
  if (is.numeric(i) && any(i < 0) && any(i > 0)) {
    abort_argument(
      "i",
      "`i` must be epochs to keep or, negative, epochs to leave out, not both.",
      call
    )
  }
  rows <- if (is.logical(i)) {
    which(rep_len(i, length(epochs)))
  } else if (any(i < 0)) {
    which(!epochs %in% -i)
  } else {
    match(i[i != 0], epochs)
  }
  if (anyNA(rows)) {
    abort_argument(
      "i",
      sprintf(
        "The history has no epoch %s; it has %s.",
        paste(i[i != 0][is.na(rows)], collapse = ", "),
        format_epochs(epochs)
      ),
      call
    )
  }
  new_history(x$params, epochs[rows], lapply(x$metrics, `[`, rows), x$params[["seconds"]][rows])
}

#' @rdname keras_training_history
#' @rawNamespace S3method(utils::head, keras_training_history)
head.keras_training_history <- function(x, ...) x[utils::head(history_epochs(x), ...)]

#' @rdname keras_training_history
#' @rawNamespace S3method(utils::tail, keras_training_history)
tail.keras_training_history <- function(x, ...) x[utils::tail(history_epochs(x), ...)]

#' @rdname keras_training_history
#' @export
c.keras_training_history <- function(...) {
  call <- user_call("c")
  histories <- list(...)
  if (!all(vapply(histories, inherits, NA, "keras_training_history"))) {
    abort_argument("...", "c() joins a history with other histories only.", call)
  }
  Reduce(append_run, histories)
}

#' Two runs as one: the rows of the earlier before those of the later
#' @noRd
append_run <- function(earlier, later) {
  before <- history_epochs(earlier)
  after <- history_epochs(later)
  if (!length(before) || !length(after)) {
    return(if (length(after)) later else earlier)
  }
  if (after[1] <= before[1]) {
    after <- after - after[1] + before[length(before)] + 1L
  }
  kept <- which(before < after[1])
  names <- union(names(earlier$metrics), names(later$metrics))
  rows <- function(history, name, rows) {
    (history$metrics[[name]] %||% rep(NA_real_, max(rows)))[rows]
  }
  metrics <- lapply(stats::setNames(names, names), function(name) {
    c(rows(earlier, name, kept), rows(later, name, seq_along(after)))
  })
  params <- utils::modifyList(earlier$params, later$params)
  params$initial_epoch <- earlier$params$initial_epoch
  params$epochs <- max(params$epochs, after)
  seconds <- lapply(list(earlier, later), function(history) history$params[["seconds"]])
  timed <- !any(vapply(seconds, is.null, NA))
  new_history(
    params,
    c(before[kept], after),
    metrics,
    if (timed) c(seconds[[1]][kept], seconds[[2]])
  )
}

new_history <- function(params, epochs, metrics, seconds) {
  params$epoch <- epochs
  params$seconds <- seconds
  structure(
    list(params = params, metrics = metrics),
    class = c("kerasfit_history", "keras_training_history")
  )
}

format_epochs <- function(epochs) {
  n <- length(epochs)
  if (!n) {
    "none"
  } else if (n < 2) {
    paste("epoch", epochs)
  } else {
    sprintf("epochs %d to %d", epochs[1], epochs[n])
  }
}
