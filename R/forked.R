# Forked copies of the process, such as those of parallel::mclapply(). They lack the threads of
# Keras's backend, so a call that needs these threads would wait for ever.

#' The processes in which kerasfit and Keras were loaded
#' @noRd
processes <- new.env(parent = emptyenv())

#' Remember that Keras is about to load in this process, unless it was loaded before
#' @noRd
note_loading <- function() {
  if (is.null(processes$keras)) {
    processes$keras <- if (keras_is_loaded()) processes$kerasfit else Sys.getpid()
  }
}

#' Raise an error in a fork of the process that loaded Keras
#' @noRd
check_process <- function(call = NULL) {
  process <- Sys.getpid()
  if (process == processes$kerasfit) {
    return(invisible())
  }
  note_loading()
  if (process != processes$keras) {
    abort_kerasfit(
      c(
        paste(
          "Keras cannot be used in a forked copy of the process in which it runs,",
          "such as those of `parallel::mclapply()`."
        ),
        i = paste(
          "Use processes that load Keras themselves:",
          "`parallel::makePSOCKcluster()`, the package callr,",
          "or `future::plan(\"multisession\")`. Create the model there, or load it from a file."
        )
      ),
      "state",
      call
    )
  }
}
