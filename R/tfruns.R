#' Whether a tfruns run is active; starting one loads the package
#' @noRd
run_is_active <- function() isNamespaceLoaded("tfruns") && tfruns::is_run_active()

#' Add callbacks that report to the active run of the package tfruns
#' @noRd
with_tfruns <- function(callbacks, model, epochs, initial_epoch, batch_size) {
  if (!run_is_active()) {
    return(callbacks)
  }
  given <- if (is.null(callbacks)) {
    list()
  } else if (is.list(callbacks)) {
    callbacks
  } else {
    list(callbacks)
  }
  is_tensorboard <- function(callback) any(endsWith(class(callback), ".TensorBoard"))
  logs_for_tensorboard <- any(vapply(given, is_tensorboard, NA))
  added <- list(tfruns_callback(model, epochs, initial_epoch, batch_size))
  if (!logs_for_tensorboard && has_tensorboard()) {
    added <- c(added, callback_tensorboard(file.path(tfruns::run_dir(), "logs")))
  }
  c(list(callbacks)[!is.null(callbacks)], added)
}

has_tensorboard <- function() {
  find <- reticulate::import("importlib.util")$find_spec
  !is.null(find("tensorboard")) && !is.null(find("tensorflow"))
}

write_evaluation <- function(metrics) {
  if (run_is_active()) tfruns::write_run_metadata("evaluation", as.list(metrics))
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
    # tfruns expects rows for future epochs as well
    missing <- max(0, epochs - initial_epoch + 1 - length(rows))
    tfruns::write_run_metadata("metrics", as.data.frame(lapply(columns, c, rep(NA_real_, missing))))
    tfruns::write_run_metadata("properties", list(epochs_completed = epoch))
  }
  describe_run <- function() {
    summary <- utils::capture.output(summary(model))
    compiled <- from_core(bridge$compiled_with(model))
    tfruns::write_run_metadata(
      "properties",
      Filter(
        length,
        list(
          epochs = epochs,
          batch_size = batch_size,
          model = paste(summary, collapse = "\n"),
          optimizer = compiled$optimizer,
          learning_rate = compiled$learning_rate,
          loss_function = if (rlang::is_string(compiled$loss)) compiled$loss else "custom"
        )
      )
    )
  }
  list(on_train_begin = describe_run, on_epoch_end = write_metrics)
}
