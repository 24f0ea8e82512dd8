# How exceptions of Python become R errors.

#' Evaluate code, raising Python exceptions as R errors
#' @noRd
with_r_errors <- function(code, call) {
  rlang::try_fetch(code, python.builtin.Exception = function(error) abort_python(error, call))
}

#' Raise a Python exception as an R error
#' @noRd
abort_python <- function(error, call) {
  raised <- reticulate::py_last_error()
  context <- error_context(error)
  fields <- c(context[c("epoch", "batch", "history")], python_traceback = raised$message)
  if (!is.null(call_state$exit)) {
    rlang::inject(resume_or_abort(call, context$where, !!!fields))
  }
  if (!is.null(call_state$time_limit)) {
    abort_time_limit(call, context$history, python_traceback = raised$message)
  }
  condition <- if (inherits(error, "kerasfit.KerasfitError")) {
    core_error(error, context)
  } else if (is_r_error(raised)) {
    user_error(error, raised, context)
  } else {
    keras_error(error, context)
  }
  rlang::inject(abort_kerasfit(call = call, !!!condition, !!!fields))
}

#' Where in training an exception was raised
#' @return A list: `where`, a sentence, or NULL if nothing is known; `component`, the same as the
#'   core wrote it; `in_function`, whether a function of the user was running; `epoch`; `batch`;
#'   `history`.
#' @noRd
error_context <- function(error) {
  context <- mark_utf8(reticulate::py_to_r(bridge$error_context(error)))
  text <- context$text
  list(
    where = if (nzchar(text)) paste0(toupper(substr(text, 1, 1)), substring(text, 2), "."),
    component = text,
    in_function = !is.null(context$`function`),
    epoch = context$epoch,
    batch = context$batch,
    history = if (!is.null(context$history)) as_training_history(context$history)
  )
}

#' The message, kind and fields of an error that the core raised
#' @noRd
core_error <- function(error, context) {
  reason <- python_string(error$reason)
  argument <- python_string(error$argument)
  if (identical(argument, "plan")) {
    argument <- "kerasfit.plan" # an option in R
    reason <- sub("plan", option_label(argument), reason, fixed = TRUE)
  }
  list(
    message = c(
      reason,
      i = python_string(error$hint),
      i = if (context$in_function) context$where
    ),
    kind = python_string(error$kind),
    argument = argument
  )
}

#' The same for an error that Keras or another Python package raised
#' @noRd
keras_error <- function(error, context) {
  explanation <- from_core(bridge$explain(error))
  hint <- hint_for_integers(explanation)
  list(message = c(explanation, i = hint, i = context$where), kind = "python")
}

#' The same for an R error that passed through Python, for example one raised in a generator
#'
#' A `kerasfit_error` keeps its kind. Any other error becomes the parent of a `kerasfit_error_user`.
#' @noRd
user_error <- function(error, raised, context) {
  where <- context$where
  own_class <- grep("^kerasfit_error_", raised$r_class, value = TRUE)
  if (length(own_class)) {
    explanation <- from_core(bridge$explain(error))
    # where a function calls itself, the inner call has added this already
    is_repeated <- !is.null(where) && endsWith(tolower(explanation), tolower(where))
    return(list(
      message = c(explanation, i = if (!is_repeated) where),
      kind = sub("^kerasfit_error_", "", own_class[[1]]),
      argument = python_string(error$argument)
    ))
  }
  parent <- original_r_error(raised)
  hint <- if (grepl("^in the (loss|metric)", context$component)) tensors_hint(parent)
  list(
    message = c(sprintf("An error occurred %s.", user_place(context)), i = hint),
    kind = "user",
    parent = parent
  )
}

#' Where an error of the user's code occurred: "in the generator `x`, epoch 2, batch 5"
#' @noRd
user_place <- function(context) {
  known <- context$component
  if (context$in_function) known else toString(c("in one of your functions", known[nzchar(known)]))
}

#' Whether a Python exception is an R error, or was raised by Keras because of one
#' @noRd
is_r_error <- function(raised) {
  if (has_r_class(raised)) {
    return(TRUE)
  }
  !is.null(call_state$error) &&
    grepl(conditionMessage(call_state$error), raised$message, fixed = TRUE)
}

has_r_class <- function(raised) {
  !is.null(raised$r_class) && !"python.builtin.Exception" %in% raised$r_class
}

#' The R error that an R function called by Python raised, with its traceback
#' @noRd
original_r_error <- function(raised) {
  condition <- call_state$error
  call_state$error <- NULL
  if (has_r_class(raised) && !identical(class(condition), raised$r_class)) {
    # the stored condition is that of an earlier error
    condition <- structure(
      class = raised$r_class,
      list(message = raised$value, call = raised$r_call, rlang = NULL)
    )
  }
  condition$trace <- condition$trace %||% raised$r_trace
  condition
}

python_string <- function(value) if (is.null(value)) NULL else mark_utf8(as.character(value))

#' Suggest a function of Keras if a loss or metric passed tensors to a function of R that cannot
#' handle them
#' @noRd
tensors_hint <- function(condition) {
  reasons <- c(
    "non-numeric",
    "environment",
    "requires numeric",
    "must be an array",
    "condition has length",
    "not meaningful",
    "not implemented",
    "argument is not",
    "comparison.*is possible only"
  )
  if (!grepl(paste(reasons, collapse = "|"), conditionMessage(condition))) {
    return(NULL)
  }
  name <- tryCatch(rlang::call_name(conditionCall(condition)), error = function(error) NULL) %||% ""
  others <- c(
    ifelse = "where",
    `if` = "where",
    as.logical = "where",
    rowSums = "sum",
    colSums = "sum",
    rowMeans = "mean",
    pmax = "maximum",
    pmin = "minimum",
    `%*%` = "matmul",
    length = "size"
  )
  name <- if (name %in% names(others)) others[[name]] else name
  if (!grepl("^[a-z]+$", name) || !reticulate::py_has_attr(keras$ops, name)) {
    name <- "abs"
  }
  tensors_advice(name)
}

#' @param name The name of a function in `keras$ops`.
#' @noRd
tensors_advice <- function(name) {
  attach <- if (!is_attached("keras3")) {
    ", or attach the package keras3, which makes many functions of R accept tensors"
  }
  sprintf(
    "`y_true` and `y_pred` are tensors. Use functions for tensors, such as `keras$ops$%s()`%s.",
    name,
    attach %||% ""
  )
}
