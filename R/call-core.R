#' Call a function of the Python core
#'
#' Python exceptions become R errors with the user's call and the Python traceback in the field
#' `python_traceback`; Python warnings become R warnings.
#'
#' R's interrupts are suspended during the call, because they would jump over the frames of Python
#' and reticulate. Python handles them instead, and an interrupt that Python did not see is raised
#' at the end. The same holds for other jumps out of R functions called by Python, see
#' nonlocal-exit.R.
#' @param convert A function that converts the Python value to R.
#' @noRd
call_core <- function(call, f, ..., convert = identity) {
  check_process(call)
  check_stack(1 / 4, call)
  outer <- mget(c("exit", "time_limit", "restarts", "depth"), call_state, ifnotfound = list(NULL))
  on.exit(list2env(outer, call_state))
  list2env(
    list(
      exit = NULL,
      error = NULL,
      time_limit = NULL,
      restarts = restarts_here(),
      depth = (outer$depth %||% 0L) + 1L
    ),
    call_state
  )
  forget_errors()
  answer <- suspendInterrupts({
    answer <- with_r_errors(rlang::inject(bridge$call(guards(), f, ...)), call)
    if (inherits(answer, "kerasfit.bridges.reticulate.Outcome")) {
      interrupted <- reticulate::py_to_r(answer$interrupted)
      list(
        value = if (!interrupted) convert(answer$value),
        interrupted = interrupted,
        warnings = from_core(answer$warnings)
      )
    } else {
      list(value = convert(answer), interrupted = FALSE)
    }
  })
  for (message in answer$warnings) {
    warn_kerasfit(message, call)
  }
  if (!is.null(call_state$exit)) {
    resume_or_abort(call)
  }
  if (note_printed_time_limit()) {
    abort_time_limit(call, answer$value)
  }
  if (answer$interrupted) {
    rlang::interrupt()
  }
  answer$value
}

#' The functions through which the core calls R functions
#' @noRd
guards <- function() {
  call_state$guards <- call_state$guards %||%
    bridge$Guards(
      reticulate::r_to_py(guarded, convert = TRUE),
      reticulate::r_to_py(guarded, convert = FALSE),
      reticulate::r_to_py(check_time_limit, convert = TRUE)
    )
}

#' Run the user's code inside one of our functions called by Python, with interrupts allowed
#' @noRd
run_user_code <- function(code) allowInterrupts(code)

#' Continue a jump that a function of the user began, or raise an error if its target is unknown
#' @param where A sentence that says where the function was called.
#' @param ... Fields of the error.
#' @noRd
resume_or_abort <- function(call, where = NULL, ...) {
  resume_nonlocal_exit()
  message <- c(
    sprintf("One of your functions tried to jump out of %s().", rlang::call_name(call)),
    i = paste(
      "`callCC()`, the debugger's Q, and a `return()` or `break` of an outer function",
      "cannot end it."
    ),
    i = where
  )
  abort_kerasfit(message, "user", call, ...)
}

#' Raise the error of a time limit, with the history so far
#' @noRd
abort_time_limit <- function(call, history = NULL, ...) {
  limit <- call_state$time_limit
  forget_errors()
  trained <- inherits(history, "keras_training_history")
  abort_kerasfit(
    c(
      limit,
      i = if (trained) {
        paste(interrupted_after(history), "The model has the weights of its last step.")
      }
    ),
    "time_limit",
    call,
    history = if (trained) history,
    ...
  )
}
