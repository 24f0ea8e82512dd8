#' Raise an error
#'
#' All conditions have the class `kerasfit_error` and one more class for their kind:
#' `kerasfit_error_argument`, `kerasfit_error_data`, `kerasfit_error_state`, `kerasfit_error_user`,
#' `kerasfit_error_python` or `kerasfit_error_time_limit`.
#' @param message What is wrong. Elements named "i" say what to do.
#' @param call The call of the user's function. Only its name is shown: `fit()`.
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

#' Raise a warning of class `kerasfit_warning`
#' @noRd
warn_kerasfit <- function(message, call = NULL) {
  message <- paste(c(message[[1]], rlang::format_error_bullets(message[-1])), collapse = "\n")
  warning(rlang::warning_cnd("kerasfit_warning", message = message, call = without_arguments(call)))
}

#' Remove the arguments of a call, which may be whole data sets, to show it as `fit()`; operators
#' are shown as written: `history[3]`
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

#' The frame at which the backtrace of an error ends: that of the user's call, or else of the
#' function that raises the error
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
  if (length(hint)) {
    message <- c(message, rlang::set_names(hint, rep("i", length(hint))))
  }
  abort_kerasfit(message, "argument", call, argument = argument)
}

#' The call of a method as the user wrote it, with the name of the generic
#' @noRd
user_call <- function(generic) {
  call <- sys.call(-1)
  call[[1]] <- as.name(generic)
  call
}

#' Check that a value is one of some strings
#' @param label What the error calls the argument.
#' @return The value.
#' @noRd
check_choice <- function(
  value,
  choices,
  argument = "backend",
  call = rlang::caller_call(),
  label = argument
) {
  if (!rlang::is_string(value, choices)) {
    choices <- toString(dQuote(choices, FALSE))
    message <- sprintf("`%s` must be one of %s, not %s.", label, choices, describe(value))
    abort_argument(argument, message, call)
  }
  value
}

#' Describe a value in an error message: single values as they are, others by type and length
#' @noRd
describe <- function(value) {
  if (rlang::is_string(value)) {
    return(dQuote(value, FALSE))
  }
  if (is.atomic(value) && length(value) == 1) {
    return(format(value))
  }
  type <- cli::ansi_strip(cli::format_inline("{.obj_type_friendly {value}}"))
  if (rlang::is_bare_vector(value) && length(value) > 1) {
    type <- sprintf("%s of length %d", type, length(value))
  }
  type
}

#' Collect dots in a list, ignoring empty arguments such as the one after a trailing comma
#' @noRd
collect_dots <- function(...) rlang::dots_list(..., .ignore_empty = "all")

#' Check the dots of a method: all arguments must be named and known
#' @param known Whether something accepts further arguments, such as the model's own method.
#' @return The dots as a named list.
#' @noRd
check_dots <- function(..., call, known = TRUE) {
  arguments <- names(formals(sys.function(sys.parent())))
  extra <- collect_dots(...)
  unnamed <- sum(!nzchar(rlang::names2(extra)))
  if (unnamed) {
    abort_argument(
      "...",
      cli::pluralize("Arguments after the data must be named, and {unnamed} {?is/are} not."),
      call,
      hint = "For example `batch_size = 32`."
    )
  }
  if (length(extra) && !known) {
    name <- names(extra)[[1]]
    nearest <- reticulate::py_to_r(bridge$nearest_argument(name, as.list(arguments)))
    abort_argument(
      name,
      sprintf("%s() has no argument `%s`.", as.character(call[[1]]), name),
      call,
      hint = if (!is.null(nearest)) sprintf("Did you mean `%s`?", nearest)
    )
  }
  extra
}
