#' The history of a training run
#'
#' What [fit()][fit.keras.src.models.model.Model] returns: plain R values, which can be saved with [saveRDS()] and need
#' no Python to be printed, plotted or analysed.
#'
#' @format A list of class `keras_training_history`:
#' \describe{
#'   \item{`params`}{A named list: `epochs` and `initial_epoch` as they were given; `epoch`, the epoch of each
#'     row of the metrics, counted from 1; `steps` in an epoch; `samples` and `validation_samples`;
#'     `batch_size`; `verbose`; `interrupted`, whether the user ended training. What is not known, such as the number of samples of a generator, is `NA`. If `y`
#'     was a factor, `levels` has its levels, in the order of the classes; for several outputs a named list.}
#'   \item{`metrics`}{A named list of numeric vectors, each with one value for each epoch that was trained:
#'     `loss`, the metrics, and both again with `val_` in front for the validation data. `NA` where a value was not
#'     measured, as in epochs without validation.}
#' }
#' @param x A `keras_training_history`.
#' @param row.names,optional Not used.
#' @param ... Not used.
#' @return `as.data.frame()`: one row for each epoch, metric and data set, with the columns `epoch` (integer), `value`,
#'   `metric` (a factor, `val_` removed) and `data` (a factor with the levels training and validation).
#'   `print()`: its argument, invisibly.
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' history <- model |> fit(x, iris$Species, epochs = 3, shuffle = FALSE, verbose = 0)
#' history
#' subset(as.data.frame(history), metric == "loss")
#' @name keras_training_history
NULL

#' A history as the core records it, as R values
#' @noRd
as_training_history <- function(history) {
  values <- reticulate::py_to_r(bridge$history_values(history))
  params <- lapply(values$params, function(value) value %||% NA_integer_)
  params$epoch <- as.integer(values$epoch)
  metrics <- Map(function(value, measured) {
    value <- as.double(value)
    value[!measured] <- NA
    value
  }, values$values, values$measured)
  structure(list(params = params, metrics = metrics), class = "keras_training_history")
}

#' The epoch of each row. Histories that other packages made do not say; theirs count from 1.
#' @noRd
history_epochs <- function(history) {
  rows <- if (length(history$metrics)) length(history$metrics[[1]]) else 0L
  history$params[["epoch"]] %||% seq_len(rows)
}

#' @rdname keras_training_history
#' @export
as.data.frame.keras_training_history <- function(x, row.names = NULL, optional = FALSE, ...) {
  columns <- rlang::names2(x$metrics)
  validation <- startsWith(columns, "val_")
  metric <- sub("^val_", "", columns)
  epochs <- as.integer(history_epochs(x))
  data.frame(
    epoch = rep(epochs, length(columns)),
    value = as.double(unlist(x$metrics, use.names = FALSE)),
    metric = factor(rep(metric, each = length(epochs)), unique(metric)),
    data = factor(rep(ifelse(validation, "validation", "training"), each = length(epochs)), c("training", "validation"))
  )
}

#' @rdname keras_training_history
#' @export
print.keras_training_history <- function(x, ...) {
  cat(format_history(x), sep = "\n")
  invisible(x)
}

#' The lines that print() shows
#' @noRd
format_history <- function(history) {
  epochs <- history_epochs(history)
  if (!length(epochs)) {
    return(sprintf("Training history: no epoch was trained%s.", if (isTRUE(history$params$interrupted)) " to its end" else ""))
  }
  params <- history$params
  known <- function(name) if (!is.null(params[[name]]) && !is.na(params[[name]])) format(params[[name]], big.mark = ",")
  facts <- c(
    if (!is.null(known("samples"))) paste(known("samples"), "samples"),
    if (!is.null(known("validation_samples"))) paste(known("validation_samples"), "to validate on"),
    if (!is.null(known("batch_size"))) paste("batches of", known("batch_size")),
    if (!is.null(known("steps"))) paste(known("steps"), if (identical(known("steps"), "1")) "step" else "steps", "per epoch")
  )
  span <- if (length(epochs) == 1) paste("epoch", epochs) else sprintf("epochs %d to %d", epochs[1], epochs[length(epochs)])
  c(
    sprintf("Training history: %s%s", span, if (isTRUE(params$interrupted)) ", then interrupted" else ""),
    if (length(facts)) paste(facts, collapse = ", "),
    format_last_row(history, epochs[length(epochs)])
  )
}

#' The last value of each metric, with validation beside training
#' @noRd
format_last_row <- function(history, epoch) {
  last <- vapply(history$metrics, function(values) values[length(values)], numeric(1))
  metric <- unique(sub("^val_", "", names(last)))
  cells <- cbind(training = last[metric], validation = last[paste0("val_", metric)])
  rownames(cells) <- metric
  cells <- cells[, c(TRUE, any(startsWith(names(last), "val_"))), drop = FALSE]
  text <- format(cells, digits = 4)
  text[is.na(cells)] <- "NA"
  table <- rbind(colnames(cells), text)
  label <- format(c(sprintf("Epoch %d", epoch), metric))
  lines <- apply(format(table, justify = "right"), 1, paste, collapse = "  ")
  shown <- utils::head(paste0(label, "  ", lines), 8)
  hidden <- nrow(table) - length(shown)
  unname(c(shown, if (hidden) sprintf("... and %d more metrics", hidden)))
}
