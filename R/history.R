#' Training histories
#'
#' The value of [fit()][fit.keras.src.trainers.trainer.Trainer]. It consists of plain R values,
#' which can be saved with [saveRDS()] and can be printed, plotted and analysed without Python.
#'
#' @format A list of class `keras_training_history`:
#' \describe{
#'   \item{`params`}{A named list: `epochs` and `initial_epoch`, as given; `epoch`, the epoch of
#'     each row of the metrics, counted from 1; `seconds`, the duration of each epoch with its
#'     validation; `steps` in an epoch; `samples` and `validation_samples`; `batch_size`; `verbose`;
#'     `interrupted`, whether the user ended training. Unknown values, such as the number of samples
#'     of a generator, are `NA`. If `y` was a factor, `levels` has its levels in the order of the
#'     classes; for several outputs, it is a named list.}
#'   \item{`metrics`}{A named list of numeric vectors with one value for each trained epoch: `loss`
#'     and the metrics, and the same for the validation data with the prefix `val_`. `NA` where a
#'     value was not measured, as in epochs without validation.}
#' }
#' @param x,object A `keras_training_history`.
#' @param row.names,optional Not used.
#' @param i Numbers of epochs, as in the history; negative numbers exclude epochs. Or names of
#'   elements of the list.
#' @param ... For `c()`, histories of the same model from consecutive runs. For `head()` and
#'   `tail()`, the number of epochs, as for a vector. Otherwise not used.
#' @details `c()` joins consecutive runs. If an epoch was trained again, for example after an
#'   interrupt, the values of the later run are used. A run that does not start after the first
#'   epoch of the previous run, because `initial_epoch` was not given, is assumed to continue it,
#'   and its epochs are renumbered.
#'
#' `summary()` assumes that higher values are better if the name of the metric says so (accuracy,
#' AUC, precision, recall, F score, IoU, R2, similarity), and otherwise that lower values are
#' better. The best epoch in `glance()` and in plots is the one with the lowest validation loss, or
#' without validation the lowest loss.
#' @return
#' * `as.data.frame()`: one row for each epoch, metric and data set, with the columns `epoch`
#'   (integer), `value`, `metric` (a factor, without `val_`) and `data` (a factor with the levels
#'   training and validation).
#' * `as_tibble()`: the same as a tibble. `tidy()`: the same, a tibble if that package is installed.
#' * `glance()`: one row, a tibble if that package is installed: `epochs`, the number of trained
#'   epochs; `best_epoch`; the total `seconds` and `seconds_per_epoch`; `interrupted`; and the last
#'   value of each metric.
#' * `summary()`: a row for each metric with its first, last and best value, and the epoch of the
#'   best.
#' * `format()`: the lines that `print()` shows.
#' * `c()`, `[`, `head()` and `tail()`: a history.
#' * `print()`: its argument, invisibly.
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' history <- model |> fit(x, iris$Species, epochs = 3, shuffle = FALSE, verbose = 0)
#' history
#' subset(as.data.frame(history), metric == "loss")
#' summary(history)
#' more <- model |>
#'   fit(x, iris$Species, initial_epoch = 4, epochs = 5, shuffle = FALSE, verbose = 0)
#' c(history, more)[2:4]
#' @name keras_training_history
NULL

#' Convert a history of the core to R values
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

#' The epoch of each row; histories made by other packages count from 1
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
      if (isTRUE(history$params$interrupted)) " to completion" else ""
    ))
  }
  params <- history$params
  known <- function(name) {
    value <- params[[name]]
    # `options(OutDec = ",")` would make the decimal mark the same as `big.mark`
    if (!is.null(value) && !is.na(value)) format(value, big.mark = ",", decimal.mark = ".")
  }
  facts <- c(
    if (!is.null(known("samples"))) paste(known("samples"), "samples"),
    if (!is.null(known("validation_samples"))) paste(known("validation_samples"), "to validate on"),
    if (!is.null(known("batch_size"))) paste("batches of", known("batch_size")),
    if (!is.null(known("steps"))) {
      cli::pluralize("{known('steps')} step{cli::qty(params$steps)}{?s} per epoch")
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

#' Format the last value of each metric, training and validation in columns
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
  unname(c(shown, if (hidden) cli::pluralize("... and {hidden} more metric{?s}")))
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
  # such as `history$metrics$val_loss < 1` without validation in each epoch
  if (is.numeric(i) && anyNA(i)) {
    abort_argument("i", "`i` must not have missing values.", call)
  }
  if (is.numeric(i) && any(i < 0) && any(i > 0)) {
    abort_argument(
      "i",
      "`i` must not mix positive and negative epochs.",
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
    abort_argument("...", "c() can join a history only with other histories.", call)
  }
  Reduce(append_run, histories)
}

#' Append the rows of a later run to those of an earlier one
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
