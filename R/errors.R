#' Signal a mistake
#'
#' All conditions have the class `kerasfit_error`; the kind adds one more: `kerasfit_error_argument`,
#' `kerasfit_error_data`, `kerasfit_error_state`, `kerasfit_error_user`, `kerasfit_error_python`.
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
#' Python's warnings arrive as R warnings. R's interrupts are suspended meanwhile, as they would jump over Python's
#' frames and reticulate's; Python hears of them, and one that it has not heard comes up at the end.
#' @param convert Makes R's value of Python's.
#' @noRd
call_core <- function(call, f, ..., convert = identity) {
  check_process(call)
  answer <- suspendInterrupts({
    answer <- with_r_errors(rlang::inject(bridge$call(f, ...)), call)
    interrupted <- reticulate::py_to_r(answer[2])
    list(
      value = if (!interrupted) convert(answer[0]), interrupted = interrupted, warnings = reticulate::py_to_r(answer[1])
    )
  })
  for (message in answer$warnings) warning(rlang::warning_cnd("kerasfit_warning", message = message, call = call))
  if (answer$interrupted) rlang::interrupt()
  answer$value
}

#' Stop in a copy of the process that Keras runs in: its threads are not there, and it would wait for them for ever
#' @noRd
check_process <- function(call) {
  signalled$process <- signalled$process %||% Sys.getpid()
  if (signalled$process != Sys.getpid()) {
    abort_kerasfit(
      c(
        "Keras cannot train in a copy of the process in which it runs, such as those of `parallel::mclapply()`.",
        i = "Use processes that load Keras themselves: `parallel::makePSOCKcluster()`, or the package callr."
      ),
      "state", call
    )
  }
}

#' Run code of the user's that Python has called
#'
#' It may be interrupted, which Python hears of. A jump to a handler or restart outside, such as that of
#' `tryCatch(fit(...), warning = )`, would leave Python's frames behind, which ends R sooner or later. So it is held here and
#' goes on as an error, which Python's frames know how to make way for, until [abort_python()] lets it go.
#' @noRd
user_code <- function(code) {
  outcome <- hold_jump(code)
  if (outcome$held) stop(rlang::error_cnd("kerasfit_jump", message = "A jump is held.", call = NULL))
  outcome$value
}

#' What user functions have signalled last when they did not come to their end, which Python's exceptions do not carry;
#' and the process that uses the core
#' @noRd
signalled <- new.env(parent = emptyenv())

#' The value of some code, or that it would have jumped elsewhere
#' @noRd
hold_jump <- function(code) {
  last <- NULL
  ended <- FALSE
  on.exit({
    if (!ended) {
      signalled$last <- last
      # reticulate has handlers of these; a return() takes the place of a jump to any other one
      if (!inherits(last, c("error", "interrupt"))) return(list(held = TRUE))
    }
  })
  value <- withCallingHandlers(allowInterrupts(code), condition = function(condition) last <<- condition)
  ended <- TRUE
  list(held = FALSE, value = value)
}

#' Signal a condition again that made a function of the user's jump, now that no Python is in the way
#' @noRd
let_jump_go <- function() {
  last <- signalled$last
  signalled$last <- NULL
  if (!is.null(last)) {
    withRestarts(signalCondition(last), muffleWarning = function() NULL, muffleMessage = function() NULL)
  }
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
  place <- reticulate::py_to_r(bridge$place(error))
  where <- if (nzchar(place$text)) paste0(toupper(substr(place$text, 1, 1)), substring(place$text, 2), ".")
  signal <- function(message, kind, ...) {
    abort_kerasfit(
      message, kind, call, ...,
      epoch = place$epoch, batch = place$batch,
      history = if (!is.null(place$history)) as_training_history(place$history),
      python_traceback = raised$message
    )
  }
  if (inherits(error, "kerasfit.errors.KerasfitError")) {
    in_batch <- !is.null(place$`function`)
    message <- c(python_string(error$reason), i = python_string(error$hint), i = if (in_batch) where)
    signal(message, python_string(error$kind), argument = python_string(error$argument))
  }
  explained <- reticulate::py_to_r(bridge$explain(error))
  if (is.null(raised$r_class) || "python.builtin.Exception" %in% raised$r_class) {
    signal(c(explained, i = where), "python")
  }
  if ("kerasfit_jump" %in% raised$r_class) {
    let_jump_go()
    hint <- "Neither `callCC()` nor restarts nor the debugger's Q lead out of it."
    signal(c(sprintf("A function of yours would have jumped out of %s().", rlang::call_name(call)), i = hint, i = where), "user")
  }
  # an R error on its way through Python, such as one in a generator
  mistake <- grep("^kerasfit_error_", raised$r_class, value = TRUE)
  if (length(mistake)) {
    signal(c(explained, i = where), sub("^kerasfit_error_", "", mistake[[1]]), argument = python_string(error$argument))
  }
  signal(if (is.null(where)) "In a function of yours." else where, "user", parent = r_condition(raised))
}

#' The R error that an R function signalled when Python had called it, with its traceback
#' @noRd
r_condition <- function(raised) {
  condition <- signalled$last
  signalled$last <- NULL
  if (!identical(class(condition), raised$r_class)) { # Python's own code called the function
    condition <- structure(class = raised$r_class, list(message = raised$value, call = raised$r_call, rlang = NULL))
  }
  condition$trace <- condition$trace %||% raised$r_trace
  condition
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
