# R functions that Python calls. R code can end with a jump to an earlier R function, for example by
# a restart, past the Python functions in between. Python does not notice such a jump, and R crashes
# sooner or later. Therefore each call is guarded: the jump is stopped, passes through Python as an
# exception, and is repeated in R after Python has returned.

#' The state of R functions called by Python
#'
#' * `exit`: how a function ended other than by a value, an error or an interrupt.
#' * `error`: the last error, since Python exceptions do not carry R conditions.
#' * `time_limit`: the message of a time limit that was reached.
#' * `restarts`: the restarts outside of the innermost call of Python.
#' * `guards`: [guarded()], as Python calls it.
#' @noRd
call_state <- new.env(parent = emptyenv())

#' Call an R function for Python
#'
#' Errors and interrupts reach reticulate, which raises exceptions for them. Other jumps reach it as
#' an error.
#' @noRd
guarded <- function(f, ...) {
  check_stack(1 / 8)
  if (!is.function(f)) {
    f <- reticulate::py_to_r(f)
  }
  outcome <- catch_nonlocal_exit(if (is_package_function(f)) f(...) else allowInterrupts(f(...)))
  switch(
    outcome$way,
    value = return(outcome$value),
    error = {
      if (!is_time_limit(outcome$condition)) {
        call_state$error <- outcome$condition
        stop(outcome$condition)
      }
      call_state$time_limit <- conditionMessage(outcome$condition)
    },
    jump = ,
    restart = {
      call_state$exit <- call_state$exit %||% outcome
      stop(rlang::error_cnd(
        "kerasfit_jump",
        message = "R continues outside of Python.",
        call = NULL
      ))
    }
  )
  signal_interrupt()
}

#' Whether a function belongs to kerasfit: such functions are short and must not be interrupted half
#' done
#' @noRd
is_package_function <- function(f) is.primitive(f) || identical(topenv(environment(f)), topenv())

#' Evaluate code and return its value, or how it ended
#'
#' Errors are caught by an exiting handler: R signals a stack overflow to no other kind, and the
#' stack is free again in such a handler. A jump past this handler can only be stopped by another
#' jump, the `return()` in `on.exit()`.
#' @return A list with `way`: "value", "error", "interrupt", "restart", or "jump" for any other
#'   exit.
#' @noRd
catch_nonlocal_exit <- function(code) {
  last <- trace <- NULL
  ended <- FALSE
  on.exit(
    if (!ended) {
      return(list(way = if (inherits(last, "interrupt")) "interrupt" else "jump", condition = last))
    }
  )
  note <- function(condition) {
    last <<- condition
    if (inherits(condition, "error") && is_condition_of_r(condition)) trace <<- rlang::trace_back()
  }
  outcome <- tryCatch(
    with_restarts_caught(withCallingHandlers(list(way = "value", value = code), condition = note)),
    error = function(error) {
      # Python exceptions have their own traceback
      if (is_condition_of_r(error) && inherits(last, "error")) {
        error$trace <- error$trace %||% trace
      }
      list(way = "error", condition = error)
    }
  )
  ended <- TRUE
  outcome
}

is_condition_of_r <- function(condition) is.list(condition) && !reticulate::is_py_object(condition)

#' Evaluate code and return its value, or the restart outside of Python that it invoked
#' @noRd
with_restarts_caught <- function(code) {
  if (!length(call_state$restarts)) {
    return(code)
  }
  caught <- lapply(call_state$restarts, function(restart) {
    function(...) list(way = "restart", restart = restart, arguments = list(...))
  })
  rlang::inject(withRestarts(code, !!!caught))
}

#' The available restarts by name; an empty list if there is only the return to R's prompt
#' @noRd
restarts_here <- function() {
  restarts <- computeRestarts()
  names <- vapply(restarts, function(restart) restart[[1]] %||% "", "")
  restarts <- stats::setNames(restarts, names)[
    nzchar(names) & !duplicated(names) & names != "raise_py_exception"
  ]
  if (identical(names(restarts), "abort")) list() else restarts
}

#' Repeat the jump out of an R function called by Python, after Python has returned
#'
#' Returns if the target of the jump is unknown: `callCC()`, a `return()` or `break` of an outer
#' function, and the debugger's Q.
#' @noRd
resume_nonlocal_exit <- function() {
  exit <- call_state$exit
  call_state$exit <- NULL
  if (identical(exit$way, "restart")) {
    rlang::inject(invokeRestart(exit$restart, !!!exit$arguments))
  }
  if (!is.null(exit$condition) && !inherits(exit$condition, "error")) {
    withRestarts(
      signalCondition(exit$condition),
      muffleWarning = function() NULL,
      muffleMessage = function() NULL
    )
  }
  invisible()
}

signal_interrupt <- function() {
  signalCondition(structure(class = c("interrupt", "condition"), list(message = "", call = NULL)))
}

#' Check that enough of R's stack is free
#'
#' When the stack is full, R jumps from wherever it is, past Python as well. Python needs more stack
#' at a time than R.
#' @param share The fraction of the stack that must be free.
#' @noRd
check_stack <- function(share, call = NULL) {
  stack <- Cstack_info()
  full <- isTRUE(stack[["current"]] > (1 - share) * stack[["size"]]) ||
    stack[["eval_depth"]] > getOption("expressions") - 500
  if (full) {
    abort_kerasfit(
      c(
        "Function calls are nested too deeply: not enough of R's stack is left to call Python.",
        i = paste(
          "Check for endless recursion, for example a callback that calls fit() with itself."
        )
      ),
      "state",
      call
    )
  }
}

#' Whether an error was raised by `setTimeLimit()` or `setSessionTimeLimit()`
#' @noRd
is_time_limit <- function(error) {
  is_condition_of_r(error) && is_time_limit_message(conditionMessage(error))
}

is_time_limit_message <- function(text) {
  if (!nzchar(text)) {
    return(FALSE)
  }
  limits <- c(
    "reached elapsed time limit",
    "reached CPU time limit",
    "reached session elapsed time limit",
    "reached session CPU time limit"
  )
  any(vapply(c(limits, gettext(limits, domain = "R")), grepl, NA, text, fixed = TRUE))
}

#' Interrupt Python if a time limit was reached
#'
#' R checks time limits while it runs R code, as it does here, and while reticulate lets it process
#' events, where R prints the error but continues.
#' @noRd
check_time_limit <- function() {
  allowInterrupts(Sys.sleep(0))
  if (note_printed_time_limit()) {
    signal_interrupt()
  }
  NULL
}

#' Check whether R has printed the error of a time limit since [forget_errors()]
#' @noRd
note_printed_time_limit <- function() {
  printed <- geterrmessage()
  if (is_time_limit_message(printed)) {
    call_state$time_limit <- sub("\n$", "", sub("^.*?: ", "", printed))
    forget_errors()
  }
  !is.null(call_state$time_limit)
}

#' Remove the error of a time limit from `geterrmessage()`
#' @noRd
forget_errors <- function() {
  if (is_time_limit_message(geterrmessage())) try(stop("", call. = FALSE), silent = TRUE)
}
