#' The callbacks of a run of training, and one that tells the package tfruns of it if a run of that is active
#' @noRd
with_tfruns <- function(callbacks, model, epochs, initial_epoch, batch_size) {
  # whoever has started a run has loaded the package
  if (!isNamespaceLoaded("tfruns") || !tfruns::is_run_active()) {
    return(callbacks)
  }
  given <- if (is.null(callbacks)) list() else list(callbacks)
  c(given, list(tfruns_callback(model, epochs, initial_epoch, batch_size)))
}

tfruns_callback <- function(model, epochs, initial_epoch, batch_size) {
  rows <- list()
  write_metrics <- function(epoch, logs) {
    logs <- lapply(logs, as.numeric)
    rows[[length(rows) + 1]] <<- as.data.frame(logs[lengths(logs) == 1])
    names <- unique(unlist(lapply(rows, names)))
    columns <- lapply(stats::setNames(names, names), function(name) {
      vapply(rows, function(row) c(row[[name]], NA_real_)[1], numeric(1))
    })
    # tfruns wants rows for the epochs to come too
    missing <- max(0, epochs - initial_epoch + 1 - length(rows))
    tfruns::write_run_metadata("metrics", as.data.frame(lapply(columns, c, rep(NA_real_, missing))))
    tfruns::write_run_metadata("properties", list(epochs_completed = epoch))
  }
  describe_run <- function() {
    summary <- utils::capture.output(summary(model))
    compiled <- from_core(bridge$compiled_with(model))
    tfruns::write_run_metadata("properties", Filter(length, list(
      epochs = epochs, batch_size = batch_size, model = paste(summary, collapse = "\n"),
      optimizer = compiled$optimizer,
      loss_function = if (rlang::is_string(compiled$loss)) compiled$loss else "custom"
    )))
  }
  list(on_train_begin = describe_run, on_epoch_end = write_metrics)
}
