#' Signal a mistake
#'
#' All conditions have the class `kerasfit_error`; the kind adds one more: `kerasfit_error_argument`,
#' `kerasfit_error_data`, `kerasfit_error_state`, `kerasfit_error_python`.
#' @noRd
abort_kerasfit <- function(message, kind, call = rlang::caller_call(), ...) {
  stop(rlang::error_cnd(
    c(paste0("kerasfit_error_", kind), "kerasfit_error"),
    message = format_message(message), call = call, ...
  ))
}

#' One string: what is wrong, and below it what to do
#' @noRd
format_message <- function(message) {
  paste(c(message[[1]], rlang::format_error_bullets(message[-1])), collapse = "\n")
}

abort_argument <- function(argument, message, call = rlang::caller_call(), hint = NULL) {
  abort_kerasfit(c(message, i = hint), "argument", call, argument = argument)
}

#' The call of a method as the user wrote it: that of the generic
#' @noRd
user_call <- function(generic) {
  call <- sys.call(-1)
  call[[1]] <- as.name(generic)
  call
}

#' Call a function of the core
#'
#' What Python raises arrives as an R error with the user's call, the traceback in its field `python_traceback`;
#' Python's warnings arrive as R warnings.
#' @return The value, as a Python object.
#' @noRd
call_core <- function(call, f, ...) {
  answer <- rlang::try_fetch(rlang::inject(bridge$call(f, ...)), python.builtin.Exception = function(error) {
    traceback <- reticulate::py_last_error()$message
    if (inherits(error, "kerasfit.errors.KerasfitError")) {
      abort_kerasfit(
        c(python_string(error$reason), i = python_string(error$hint)),
        kind = python_string(error$kind), call = call,
        argument = python_string(error$argument), python_traceback = traceback
      )
    }
    # an R error on its way through Python, such as one in a generator, brings its class along
    class <- if (reticulate::py_has_attr(error, "r_class")) as.character(error$r_class)
    mistake <- grep("^kerasfit_error_", class, value = TRUE)
    abort_kerasfit(
      reticulate::py_to_r(bridge$explain(error)),
      kind = if (length(mistake)) sub("^kerasfit_error_", "", mistake[[1]]) else "python", call = call,
      argument = if (length(mistake)) error$argument, python_traceback = traceback
    )
  })
  for (message in reticulate::py_to_r(answer[1])) {
    warning(rlang::warning_cnd("kerasfit_warning", message = message, call = call))
  }
  answer[0]
}

python_string <- function(value) if (is.null(value)) NULL else as.character(value)

check_choice <- function(value, choices, argument = "backend", call = rlang::caller_call()) {
  if (!is.character(value) || length(value) != 1 || !value %in% choices) {
    abort_argument(argument, sprintf(
      "`%s` must be one of %s, not %s.", argument, paste0('"', choices, '"', collapse = ", "), describe(value)
    ), call)
  }
  value
}

#' A value as an error names it
#' @noRd
describe <- function(value) {
  if (is.null(value)) {
    "NULL"
  } else if (is.atomic(value) && length(value) == 1) {
    if (is.character(value)) dQuote(value, FALSE) else format(value)
  } else if (is.function(value)) {
    "a function"
  } else {
    sprintf("an object of class %s and length %d", class(value)[[1]], length(value))
  }
}

#' What is in the dots of a method: nothing without a name, and nothing at all where nobody would take it
#' @param known Whether there is a taker.
#' @return The dots as a named list.
#' @noRd
check_extra <- function(..., call, known = TRUE) {
  extra <- list(...)
  unnamed <- sum(!nzchar(rlang::names2(extra)))
  if (unnamed) {
    abort_argument(
      "...", sprintf("Arguments after the data must be named, and %d %s not.", unnamed, if (unnamed == 1) "is" else "are"),
      call, hint = "For example `batch_size = 32`."
    )
  }
  if (length(extra) && !known) {
    abort_argument(names(extra)[[1]], sprintf("%s() does not know the argument `%s`.", as.character(call[[1]]), names(extra)[[1]]), call)
  }
  extra
}
