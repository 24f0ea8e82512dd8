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
  outer <- mget(c("exit", "time_limit", "restarts"), calls, ifnotfound = list(NULL))
  on.exit(list2env(outer, calls))
  list2env(list(exit = NULL, error = NULL, time_limit = NULL, restarts = restarts_here()), calls)
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
  if (!is.null(calls$exit)) {
    leave_as_asked(call)
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
  calls$guards <- calls$guards %||%
    bridge$Guards(
      reticulate::r_to_py(guarded, convert = TRUE),
      reticulate::r_to_py(guarded, convert = FALSE),
      reticulate::r_to_py(check_time_limit, convert = TRUE)
    )
}

#' Run code of the user's within a function of ours that Python has called: it may be interrupted
#' @noRd
user_code <- function(code) allowInterrupts(code)

#' Let R go on where a function of the user's wanted it to; if that cannot be known, it is an error
#' @param where Where the function was called, in words.
#' @param ... Fields of the error.
#' @noRd
leave_as_asked <- function(call, where = NULL, ...) {
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
  limit <- calls$time_limit
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
  if (!is.null(calls$exit)) {
    leave_as_asked(
      call,
      where,
      epoch = place$epoch,
      batch = place$batch,
      history = history,
      python_traceback = raised$message
    )
  }
  if (!is.null(calls$time_limit)) {
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
  if (!came_from_r(raised)) {
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
  parent <- r_condition(raised)
  hint <- if (grepl("^in the (loss|metric)", place$text)) tensors_hint(parent)
  signal(
    c(if (is.null(where)) "In a function of yours." else where, i = hint),
    "user",
    parent = parent
  )
}

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
  tensors_in_words(name)
}

#' @param name The name of one of Keras's functions of tensors.
#' @noRd
tensors_in_words <- function(name) {
  attach <- if (!is_attached("keras3")) {
    ", or attach the package keras3, by which many of R's take them"
  }
  sprintf(
    "`y_true` and `y_pred` are tensors. Use functions of these, such as `keras$ops$%s()`%s.",
    name,
    attach %||% ""
  )
}

#' Whether a Python exception was an R error, or has been made by Keras of one
#' @noRd
came_from_r <- function(raised) {
  if (is_of_r(raised)) {
    return(TRUE)
  }
  !is.null(calls$error) && grepl(conditionMessage(calls$error), raised$message, fixed = TRUE)
}

is_of_r <- function(raised) {
  !is.null(raised$r_class) && !"python.builtin.Exception" %in% raised$r_class
}

#' The R error that an R function signalled when Python had called it, with its traceback
#' @noRd
r_condition <- function(raised) {
  condition <- calls$error
  calls$error <- NULL
  if (is_of_r(raised) && !identical(class(condition), raised$r_class)) {
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
all_of <- function(...) rlang::dots_list(..., .ignore_empty = "all")

#' What is in the dots of a method: nothing without a name, and nothing at all where nobody would take it
#' @param known Whether there is a taker.
#' @return The dots as a named list.
#' @noRd
check_extra <- function(..., call, known = TRUE) {
  arguments <- names(formals(sys.function(sys.parent())))
  extra <- all_of(...)
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
