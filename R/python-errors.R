#' The value of some code, with a Python exception as an R error
#' @noRd
with_r_errors <- function(code, call) {
  rlang::try_fetch(code, python.builtin.Exception = function(error) abort_python(error, call))
}

#' Signal a Python exception as an R error
#'
#' An R error on its way through Python, such as one in a generator, is the parent of the condition.
#' @noRd
abort_python <- function(error, call) {
  raised <- reticulate::py_last_error()
  place <- mark_utf8(reticulate::py_to_r(bridge$place(error)))
  where <- if (nzchar(place$text)) {
    paste0(toupper(substr(place$text, 1, 1)), substring(place$text, 2), ".")
  }
  history <- if (!is.null(place$history)) as_training_history(place$history)
  signal <- function(message, kind, ...) {
    abort_kerasfit(
      message,
      kind,
      call,
      ...,
      epoch = place$epoch,
      batch = place$batch,
      history = history,
      python_traceback = raised$message
    )
  }
  if (!is.null(call_state$exit)) {
    resume_or_abort(
      call,
      where,
      epoch = place$epoch,
      batch = place$batch,
      history = history,
      python_traceback = raised$message
    )
  }
  if (!is.null(call_state$time_limit)) {
    abort_time_limit(call, history, python_traceback = raised$message)
  }
  if (inherits(error, "kerasfit.errors.KerasfitError")) {
    in_batch <- !is.null(place$`function`)
    message <- c(
      python_string(error$reason),
      i = python_string(error$hint),
      i = if (in_batch) where
    )
    signal(message, python_string(error$kind), argument = python_string(error$argument))
  }
  explained <- from_core(bridge$explain(error))
  if (!is_r_error(raised)) {
    signal(c(explained, i = hint_for_integers(explained), i = where), "python")
  }
  # an R error on its way through Python, such as one in a generator
  mistake <- grep("^kerasfit_error_", raised$r_class, value = TRUE)
  if (length(mistake)) {
    if (endsWith(explained, where %||% "\n")) {
      where <- NULL
    } # the same function has called itself
    signal(
      c(explained, i = where),
      sub("^kerasfit_error_", "", mistake[[1]]),
      argument = python_string(error$argument)
    )
  }
  parent <- original_r_error(raised)
  hint <- if (grepl("^in the (loss|metric)", place$text)) tensors_hint(parent)
  signal(
    c(if (is.null(where)) "In a function of yours." else where, i = hint),
    "user",
    parent = parent
  )
}

#' Whether a Python exception was an R error, or has been made by Keras of one
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

#' The R error that an R function signalled when Python had called it, with its traceback
#' @noRd
original_r_error <- function(raised) {
  condition <- call_state$error
  call_state$error <- NULL
  if (has_r_class(raised) && !identical(class(condition), raised$r_class)) {
    # of an earlier error
    condition <- structure(
      class = raised$r_class,
      list(message = raised$value, call = raised$r_call, rlang = NULL)
    )
  }
  condition$trace <- condition$trace %||% raised$r_trace
  condition
}

python_string <- function(value) if (is.null(value)) NULL else mark_utf8(as.character(value))

#' What to write in a loss or metric for one of R's functions that cannot take tensors, if that is why it failed
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

#' @param name The name of one of Keras's functions of tensors.
#' @noRd
tensors_advice <- function(name) {
  attach <- if (!is_attached("keras3")) {
    ", or attach the package keras3, by which many of R's take them"
  }
  sprintf(
    "`y_true` and `y_pred` are tensors. Use functions of these, such as `keras$ops$%s()`%s.",
    name,
    attach %||% ""
  )
}
