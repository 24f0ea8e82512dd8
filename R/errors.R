#' Signal a mistake
#'
#' All conditions have the class `kerasfit_error`; the kind adds one more: `kerasfit_error_argument`,
#' `kerasfit_error_data`, `kerasfit_error_state`, `kerasfit_error_user`, `kerasfit_error_python`,
#' `kerasfit_error_time_limit`.
#' @param message What is wrong; then, by the name "i", what to do.
#' @param call The call of the user's function; the error keeps only its name, as `fit()`.
#' @param ... Fields of the condition.
#' @noRd
abort_kerasfit <- function(message, kind, call = rlang::caller_call(), ...) {
  rlang::abort(
    message,
    class = c(paste0("kerasfit_error_", kind), "kerasfit_error"),
    call = without_arguments(call),
    .frame = frame_of_call(call),
    ...
  )
}

#' Signal a warning of the class `kerasfit_warning`
#' @noRd
warn_kerasfit <- function(message, call = NULL) {
  message <- paste(c(message[[1]], rlang::format_error_bullets(message[-1])), collapse = "\n")
  warning(rlang::warning_cnd("kerasfit_warning", message = message, call = without_arguments(call)))
}

#' A call without its arguments, which may be whole data sets: `fit()`; that of an operator as it is: `history[3]`
#' @return NULL if the function has no name.
#' @noRd
without_arguments <- function(call) {
  if (!is.call(call)) {
    return(NULL)
  }
  name <- call[[1]]
  if (is.call(name) && as.character(name[[1]])[1] %in% c("::", ":::")) {
    return(call[1])
  }
  if (is.name(name)) {
    if (make.names(name) == name) call[1] else call
  }
}

#' The frame in which the backtrace of an error ends: that of the user's call, or else the function that signals it
#' @noRd
frame_of_call <- function(call) {
  for (i in if (is.call(call)) rev(seq_len(sys.nframe()))) {
    here <- sys.call(i)
    if (
      identical(here[-1], call[-1]) && identical(topenv(environment(sys.function(i))), topenv())
    ) {
      return(sys.frame(i))
    }
  }
  parent.frame(2)
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

check_choice <- function(value, choices, argument = "backend", call = rlang::caller_call()) {
  if (!is.character(value) || length(value) != 1 || !value %in% choices) {
    abort_argument(
      argument,
      sprintf(
        "`%s` must be one of %s, not %s.",
        argument,
        paste0('"', choices, '"', collapse = ", "),
        describe(value)
      ),
      call
    )
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

#' Dots as a list; what is between two commas, or after the last one, is none
#' @noRd
collect_dots <- function(...) rlang::dots_list(..., .ignore_empty = "all")

#' What is in the dots of a method: nothing without a name, and nothing at all where nobody would take it
#' @param known Whether there is a taker.
#' @return The dots as a named list.
#' @noRd
check_dots <- function(..., call, known = TRUE) {
  arguments <- names(formals(sys.function(sys.parent())))
  extra <- collect_dots(...)
  unnamed <- sum(!nzchar(rlang::names2(extra)))
  if (unnamed) {
    abort_argument(
      "...",
      sprintf(
        "Arguments after the data must be named, and %d %s not.",
        unnamed,
        if (unnamed == 1) "is" else "are"
      ),
      call,
      hint = "For example `batch_size = 32`."
    )
  }
  if (length(extra) && !known) {
    name <- names(extra)[[1]]
    nearest <- reticulate::py_to_r(bridge$nearest_argument(name, as.list(arguments)))
    abort_argument(
      name,
      sprintf("%s() does not know the argument `%s`.", as.character(call[[1]]), name),
      call,
      hint = if (!is.null(nearest)) sprintf("Did you mean `%s`?", nearest)
    )
  }
  extra
}
