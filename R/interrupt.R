# What fit() does after an interrupt, for example Ctrl-C.

#' Report that training was interrupted, or raise R's interrupt
#' @param option The option `kerasfit.interrupt`.
#' @param interrupted Whether training itself was interrupted, not the code after its last step.
#' @param env,frame The environment from which `fit()` was called, and the frame number of its
#'   method.
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
  cli::pluralize("Training was interrupted after {epochs} complete epoch{?s}.")
}

#' Raise R's interrupt, with the history
#' @noRd
signal_interrupted <- function(history) {
  condition <- list(message = interrupted_after(history), call = NULL, history = history)
  signalCondition(structure(condition, class = c("kerasfit_interrupt", "interrupt", "condition")))
  rlang::interrupt()
}

#' Whether a call is part of a function or a loop
#'
#' Otherwise it is at the top level: at the prompt, in a script, a notebook cell or a chunk of a
#' document.
#' @noRd
is_nested_call <- function(env, frame) {
  below <- seq_len(max(frame - 2, 0)) # without fit() and its method
  is_function_environment(env, lapply(below, sys.frame)) ||
    any(vapply(code_of_frames(below), has_loop_over_fit, NA))
}

#' Whether an environment is, or is enclosed by, that of a running function
#'
#' Pipes and documents evaluate code in environments of their own, inside that of the function or
#' the global environment.
#' @param frames The environments of the running functions.
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

#' The code in some frames: their calls, and the code that `eval()` runs
#' @noRd
code_of_frames <- function(numbers) {
  evaluated <- lapply(numbers, function(i) {
    if (identical(sys.function(i), eval)) get0("expr", sys.frame(i), inherits = FALSE)
  })
  c(lapply(numbers, sys.call), evaluated)
}

#' Whether code contains a loop with a call of `fit()` in it
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

#' The name of the function in a call, without its package; "" if it has none
#' @noRd
name_of_function <- function(call) {
  head <- call[[1]]
  if (is.call(head) && as.character(head[[1]])[1] %in% c("::", ":::")) {
    head <- head[[3]]
  }
  if (is.name(head)) as.character(head) else ""
}

# Functions cannot see a loop at the top level that calls them. Therefore the first call after an
# interrupt checks whether the same statement is still running.
interrupted_run <- new.env(parent = emptyenv())

#' Remember an interrupted run if the user's statement itself calls `fit()` and is not evaluated by
#' a function
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

#' Raise the interrupt of an earlier run again if this call is part of the same statement, as in a
#' loop
#'
#' At the prompt, R calls a task callback at the end of a statement. In a script, it sets
#' `.Last.value`, which tells statements apart unless it is NULL, TRUE or FALSE: of these there is
#' only one object each.
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
