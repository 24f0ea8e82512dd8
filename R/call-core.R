#' Call a function of the core
#'
#' What Python raises arrives as an R error with the user's call, the traceback in its field `python_traceback`;
#' Python's warnings arrive as R warnings. R's interrupts are suspended meanwhile, as they would jump over Python's
#' frames and reticulate's; Python hears of them, and one that it has not heard comes up at the end. So does whatever else
#' R functions would have done instead of returning to Python: see nonlocal-exit.R.
#' @param convert Makes R's value of Python's.
#' @noRd
call_core <- function(call, f, ..., convert = identity) {
  check_process(call)
  check_stack(1 / 4, call)
  outer <- mget(c("exit", "time_limit", "restarts"), call_state, ifnotfound = list(NULL))
  on.exit(list2env(outer, call_state))
  list2env(
    list(exit = NULL, error = NULL, time_limit = NULL, restarts = restarts_here()),
    call_state
  )
  forget_errors()
  answer <- suspendInterrupts({
    answer <- with_r_errors(rlang::inject(bridge$call(guards(), f, ...)), call)
    interrupted <- reticulate::py_to_r(answer[2])
    list(
      value = if (!interrupted) convert(answer[0]),
      interrupted = interrupted,
      warnings = from_core(answer[1])
    )
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

#' The guards of R functions, as the core takes them
#' @noRd
guards <- function() {
  call_state$guards <- call_state$guards %||%
    bridge$Guards(
      reticulate::r_to_py(guarded, convert = TRUE),
      reticulate::r_to_py(guarded, convert = FALSE),
      reticulate::r_to_py(check_time_limit, convert = TRUE)
    )
}

#' Run code of the user's within a function of ours that Python has called: it may be interrupted
#' @noRd
run_user_code <- function(code) allowInterrupts(code)

#' Let R go on where a function of the user's wanted it to; if that cannot be known, it is an error
#' @param where Where the function was called, in words.
#' @param ... Fields of the error.
#' @noRd
resume_or_abort <- function(call, where = NULL, ...) {
  resume_nonlocal_exit()
  message <- c(
    sprintf("A function of yours would have jumped out of %s().", rlang::call_name(call)),
    i = "Neither `callCC()` nor the debugger's Q lead out of it.",
    i = where
  )
  abort_kerasfit(message, "user", call, ...)
}

#' Signal the error of a time limit, with the history of the epochs before
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
