#' Where the core shows progress: R's own output
#'
#' Lines go through `cat()`, so that `sink()`, `capture.output()` and knitr see them. The bar is cli's, drawn only
#' where it can move, and leaves nothing behind.
#' @noRd
console_writer <- function() {
  bar <- NULL
  metrics <- ""
  here <- environment()

  functions <- list(
    bar_begin = function(label, total) {
      if (cli::is_dynamic_tty()) {
        metrics <<- ""
        bar <<- begin_bar(label, total, here)
      }
      invisible()
    },
    bar_update = function(done, text) {
      if (!is.null(bar)) {
        metrics <<- text
        cli::cli_progress_update(set = done, id = bar, force = TRUE, .envir = here)
      }
      invisible()
    },
    bar_end = function() {
      if (!is.null(bar)) cli::cli_progress_done(id = bar, .envir = here)
      bar <<- NULL
      invisible()
    },
    line = function(text) cat(text, "\n", sep = "")
  )
  bridge$writer(lapply(functions, reticulate::r_to_py, convert = TRUE))
}

begin_bar <- function(label, total, envir) {
  rlang::local_options(cli.progress_show_after = 0)
  cli::cli_progress_bar(
    name = label, total = total %||% NA, clear = TRUE, .auto_close = FALSE, .envir = envir,
    format = if (is.null(total)) {
      "{cli::pb_name}{cli::pb_spin} step {cli::pb_current} | {metrics}"
    } else {
      "{cli::pb_name}{cli::pb_bar} {cli::pb_current}/{cli::pb_total} | ETA {cli::pb_eta} | {metrics}"
    }
  )
}
