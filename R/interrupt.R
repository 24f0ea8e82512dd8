# What Ctrl-C does to the code that has called fit().

#' Say that training was interrupted, or signal it as R does
#'
#' @param option "return", "error", or "auto": to return at the top level, and to end what is around `fit()` elsewhere.
#' @param interrupted Whether the run was interrupted, rather than what comes after it.
#' @param env,frame The environment that `fit()` was called from, and the number of the frame of its method.
#' @noRd
report_interrupted <- function(history, option, interrupted, env, frame) {
  ends <- option == "error" || (option == "auto" && is_nested_call(env, frame))
  if (ends) {
    signal_interrupted(history)
  }
  if (!interrupted) {
    return(invisible())
  }
  if (option == "auto") {
    remember_interrupted(history, frame)
  }
  ignoring_closed_pipe(
    rlang::inform(
      c(interrupted_after(history), i = "The model has the weights of its last step."),
      class = "kerasfit_interrupted"
    )
  )
}

interrupted_after <- function(history) {
  epochs <- length(history_epochs(history))
  sprintf(
    "Training was interrupted, after %d whole %s.",
    epochs,
    if (epochs == 1) "epoch" else "epochs"
  )
}

#' Signal R's interrupt, with the history
#' @noRd
signal_interrupted <- function(history) {
  condition <- list(message = interrupted_after(history), call = NULL, history = history)
  signalCondition(structure(condition, class = c("kerasfit_interrupt", "interrupt", "condition")))
  rlang::interrupt()
}

# ---- where fit() was called -------------------------------------------------------------------------------------

#' Whether a call is part of something larger that R runs: a function, or a loop
#'
#' If not, it is at the top level: at the prompt, in a script, a cell of a notebook or a chunk of a document.
#' @noRd
is_nested_call <- function(env, frame) {
  below <- seq_len(max(frame - 2, 0)) # without fit() and its method
  is_function_environment(env, lapply(below, sys.frame)) ||
    any(vapply(code_of_frames(below), has_loop_over_fit, NA))
}

#' Whether code that runs in an environment is that of one of some functions that run
#'
#' Pipes and documents evaluate code in environments of their own, within that of the function or the global one.
#' @noRd
is_function_environment <- function(env, frames) {
  while (!identical(env, globalenv()) && !identical(env, emptyenv())) {
    if (any(vapply(frames, identical, NA, env))) {
      return(TRUE)
    }
    env <- parent.env(env)
  }
  FALSE
}

#' The code that some frames show: their calls, and what they evaluate for others
#' @noRd
code_of_frames <- function(numbers) {
  evaluated <- lapply(numbers, function(i) {
    if (identical(sys.function(i), eval)) get0("expr", sys.frame(i), inherits = FALSE)
  })
  c(lapply(numbers, sys.call), evaluated)
}

#' Whether code has a loop with a call of `fit()` in it
#' @noRd
has_loop_over_fit <- function(code, within_loop = FALSE) {
  if (!is.call(code) && !is.expression(code)) {
    return(FALSE)
  }
  if (is.call(code)) {
    name <- name_of_function(code)
    within_loop <- within_loop || name %in% c("for", "while", "repeat")
    if (within_loop && name == "fit") return(TRUE)
  }
  parts <- as.list(code)
  any(vapply(parts[vapply(parts, is.call, NA)], has_loop_over_fit, NA, within_loop))
}

has_call_of_fit <- function(code) {
  if (!is.call(code)) {
    return(FALSE)
  }
  parts <- as.list(code)
  name_of_function(code) == "fit" ||
    any(vapply(parts[vapply(parts, is.call, NA)], has_call_of_fit, NA))
}

#' The name of the function of a call, without its package; "" if it has none
#' @noRd
name_of_function <- function(call) {
  head <- call[[1]]
  if (is.call(head) && as.character(head[[1]])[1] %in% c("::", ":::")) {
    head <- head[[3]]
  }
  if (is.name(head)) as.character(head) else ""
}

# ---- loops at the top level ---------------------------------------------------------------------------------------

# Nothing in R shows a loop at the top level to the functions that it calls. So the first call after an interrupt looks whether
# the same statement still runs.
interrupted_run <- new.env(parent = emptyenv())

#' Note that a run has been interrupted, if it is the user's statement that has called `fit()` and nobody evaluates it
#' @noRd
remember_interrupted <- function(history, frame) {
  if (frame > 2 && !has_call_of_fit(sys.call(1))) {
    return(invisible())
  }
  list2env(
    list(history = history, calls = calls_until(frame - 1), last_value = last_value()),
    interrupted_run
  )
  addTaskCallback(function(...) {
    forget_interrupted()
    FALSE
  })
}

forget_interrupted <- function() rm(list = names(interrupted_run), envir = interrupted_run)

#' Signal the interrupt of an earlier run if a call is part of the same statement, as in a loop
#'
#' At the prompt, R says when a statement ends. In a script, it sets `.Last.value` then; NULL and TRUE, of which there is but one
#' each, may have been the value of two statements.
#' @noRd
end_interrupted_loop <- function(frame = sys.nframe() - 1) {
  run <- as.list(interrupted_run)
  if (!length(run)) {
    return(invisible())
  }
  forget_interrupted()
  same <- rlang::is_reference(last_value(), run$last_value)
  telling <- !is.null(run$last_value) && !is.logical(run$last_value)
  if (interactive() || (same && (telling || identical(calls_until(frame - 1), run$calls)))) {
    signal_interrupted(run$history)
  }
}

last_value <- function() get0(".Last.value", baseenv())

calls_until <- function(number) lapply(seq_len(number), sys.call)
