#' @rdname keras_training_history
#' @exportS3Method tibble::as_tibble
as_tibble.keras_training_history <- function(x, ...) tibble::as_tibble(as.data.frame(x), ...)

#' @rdname keras_training_history
#' @rawNamespace S3method(generics::tidy, keras_training_history)
tidy.keras_training_history <- function(x, ...) tibble_if_installed(as.data.frame(x))

#' @rdname keras_training_history
#' @rawNamespace S3method(generics::glance, keras_training_history)
glance.keras_training_history <- function(x, ...) {
  epochs <- history_epochs(x)
  seconds <- if (is.null(x$params[["seconds"]])) NA_real_ else sum(x$params$seconds)
  last <- lapply(x$metrics, utils::tail, 1)
  row <- list(
    epochs = length(epochs),
    best_epoch = c(best_epoch(x), NA_integer_)[1],
    seconds = seconds,
    seconds_per_epoch = if (length(epochs)) seconds / length(epochs) else NA_real_,
    interrupted = isTRUE(x$params$interrupted)
  )
  tibble_if_installed(as.data.frame(c(row, last[lengths(last) == 1]), optional = TRUE))
}

#' @rdname keras_training_history
#' @export
summary.keras_training_history <- function(object, ...) {
  epochs <- history_epochs(object)
  measured <- lapply(object$metrics, function(values) values[!is.na(values) | is.nan(values)])
  best <- vapply(
    names(object$metrics),
    function(name) {
      values <- object$metrics[[name]]
      values[!is.finite(values)] <- NA
      c(if (more_is_better(name)) which.max(values) else which.min(values), NA_integer_)[1]
    },
    integer(1)
  )
  at <- function(rows) mapply(function(values, row) values[row], object$metrics, rows)
  edge <- function(which) {
    vapply(measured, function(values) c(which(values, 1), NA_real_)[1], numeric(1))
  }
  table <- data.frame(
    first = edge(utils::head),
    last = edge(utils::tail),
    best = as.double(at(best)),
    best_epoch = epochs[best],
    row.names = names(object$metrics)
  )
  structure(
    table,
    class = c("summary.keras_training_history", "data.frame"),
    title = format(object)[[1]]
  )
}

#' @export
print.summary.keras_training_history <- function(x, ...) {
  cat(attr(x, "title"), "\n", sep = "")
  if (nrow(x)) {
    print(structure(x, class = "data.frame", title = NULL), digits = 4)
  }
  invisible(x)
}

#' The epoch with the lowest (validation) loss; `integer(0)` if there is none
#' @noRd
best_epoch <- function(
  history,
  metric = if (any(is.finite(history$metrics$val_loss))) "val_loss" else "loss"
) {
  values <- history$metrics[[metric]]
  values[!is.finite(values)] <- NA
  history_epochs(history)[which.min(values)]
}

#' Whether higher values of a metric are better, judged by its name
#' @noRd
more_is_better <- function(metric) {
  names <- c(
    "acc",
    "auc",
    "precision",
    "recall",
    "sensitivity",
    "specificity",
    "f1",
    "f_?beta",
    "f_?score",
    "iou",
    "r2",
    "similarity",
    "true_positives",
    "true_negatives"
  )
  grepl(paste(names, collapse = "|"), metric)
}

tibble_if_installed <- function(data) {
  if (rlang::is_installed("tibble")) tibble::as_tibble(data) else data
}

#' Format a duration: 12ms, 3.4s, 2m 05s, 1h 02m
#' @noRd
format_seconds <- function(seconds) {
  whole <- round(seconds)
  # durations that round up to the next unit are shown in that unit
  if (seconds * 1000 < 999.5) {
    sprintf("%.0fms", seconds * 1000)
  } else if (seconds < 59.95) {
    sprintf("%.1fs", seconds)
  } else if (whole < 3600) {
    sprintf("%dm %02ds", whole %/% 60, whole %% 60)
  } else {
    sprintf("%dh %02dm", whole %/% 3600, whole %% 3600 %/% 60)
  }
}
