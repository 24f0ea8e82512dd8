#' The functions with which the core shows progress in R
#'
#' Lines go through `cat()`, so `sink()`, `capture.output()` and knitr capture them, and so does
#' output that Python prints during training. The progress bar is drawn by cli, only in terminals
#' that can redraw it, and is removed at the end.
#' @noRd
console_writer <- function() {
  # one for each level of nested calls, because making it takes as long as a short call
  depth <- (call_state$depth %||% 0L) + 1L
  writers <- call_state$writers %||% list()
  if (depth > length(writers) || is.null(writers[[depth]])) {
    writers[[depth]] <- new_console_writer()
    call_state$writers <- writers
  }
  writers[[depth]]
}

new_console_writer <- function() {
  bar <- NULL
  begun <- list()
  metrics <- ""
  here <- environment()

  functions <- list(
    bar_begin = function(label, total) {
      if (cli::is_dynamic_tty()) {
        metrics <<- ""
        begun <<- list(label, total, here)
        bar <<- do.call(begin_bar, begun)
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
      if (!is.null(bar)) {
        cli::cli_progress_done(id = bar, .envir = here)
      }
      bar <<- NULL
      invisible()
    },
    line = function(text) {
      cat(if (is_console()) wrap_parts(text, cli::console_width()) else text, sep = "\n")
    },
    printed = function(text) {
      if (!is.null(bar)) {
        cli::cli_progress_done(id = bar, .envir = here)
      }
      cat(text)
      if (!is.null(bar)) bar <<- do.call(begin_bar, begun)
    }
  )
  # one function for all, because making a Python function of an R function takes long
  write <- ignoring_errors(function(name, ...) functions[[name]](...))
  bridge$writer(reticulate::r_to_py(write, convert = TRUE), as.list(names(functions)))
}

#' Make a function that writes output ignore errors in doing so, except time limits
#' @noRd
ignoring_errors <- function(f) {
  force(f)
  function(...) tryCatch(f(...), error = function(error) if (is_time_limit(error)) stop(error))
}

#' Run code that writes a message, and ignore the error if the reader has closed the pipe
#' @noRd
ignoring_closed_pipe <- function(code) {
  tryCatch(code, error = function(error) {
    if (!grepl("SIGPIPE", conditionMessage(error), fixed = TRUE)) stop(error)
  })
}

#' Whether output goes to an interactive terminal, not to a file, a document or a variable
#' @noRd
is_console <- function() {
  cli::is_dynamic_tty(stdout()) && sink.number() == 0 && !isTRUE(getOption("knitr.in.progress"))
}

#' Wrap lines at " - " where they are wider than the console
#' @noRd
wrap_parts <- function(text, width) {
  lines <- character()
  for (line in strsplit(text, "\n", fixed = TRUE)[[1]]) {
    parts <- strsplit(line, " - ", fixed = TRUE)[[1]]
    lines <- c(lines, parts[1])
    for (part in parts[-1]) {
      last <- length(lines)
      longer <- paste(lines[last], part, sep = " - ")
      if (nchar(longer, "width") <= width) {
        lines[last] <- longer
      } else {
        lines[last + 1] <- paste0("  ", part)
      }
    }
  }
  lines
}

begin_bar <- function(label, total, envir) {
  rlang::local_options(cli.progress_show_after = 0)
  cli::cli_progress_bar(
    name = label,
    total = total %||% NA,
    clear = TRUE,
    .auto_close = FALSE,
    .envir = envir,
    format = if (is.null(total)) {
      "{cli::pb_name}{cli::pb_spin} step {cli::pb_current} | {metrics}"
    } else {
      paste0(
        "{cli::pb_name}",
        if (cli::console_width() >= 80) "{cli::pb_bar} ", # 30 columns wide
        "{cli::pb_current}/{cli::pb_total} | ETA {cli::pb_eta} | {metrics}"
      )
    }
  )
}
