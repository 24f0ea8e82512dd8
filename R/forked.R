# Copies of the process, such as those of parallel::mclapply(). The threads of Keras's backend are not there, and whoever gives
# them something to do waits for ever.

#' The process in which kerasfit was loaded, and that in which Keras was
#' @noRd
processes <- new.env(parent = emptyenv())

#' Note that Keras is about to load in this process, unless it has been loaded already
#' @noRd
note_loading <- function() {
  if (is.null(processes$keras)) {
    processes$keras <- if (keras_is_loaded()) processes$kerasfit else Sys.getpid()
  }
}

#' Stop in a copy of the process that Keras runs in
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
        "Keras cannot be used in a copy of the process in which it runs, such as those of `parallel::mclapply()`.",
        i = paste(
          "Use processes that load Keras themselves: `parallel::makePSOCKcluster()`, the package callr,",
          "or `future::plan(\"multisession\")`. Make the model there, or load it from a file."
        )
      ),
      "state",
      call
    )
  }
}
