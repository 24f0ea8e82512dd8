# R functions that Python calls. They may end in any of R's ways, and many of these jump to an earlier R function, past the
# Python functions between. Python would never hear of it, which ends R sooner or later. So each call is guarded: a jump ends
# here, goes through Python as an exception, and is made again when Python has returned.

#' What has become of R functions that Python called
#'
#' * `exit`: how one has left, other than by its value, an error or an interrupt.
#' * `error`: the last error, since Python's exceptions do not carry R's conditions.
#' * `time_limit`: the message of a time limit that has been reached.
#' * `restarts`: those outside of the innermost call of Python.
#' * `guards`: [guarded()] as Python calls it.
#' @noRd
call_state <- new.env(parent = emptyenv())

#' Call an R function for Python
#'
#' Errors and interrupts are signalled to reticulate, which makes exceptions of them; so is anything else, as an error.
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
      stop(rlang::error_cnd("kerasfit_jump", message = "R goes on outside of Python.", call = NULL))
    }
  )
  signal_interrupt()
}

#' Our own functions are short and must not end half done; in all others an interrupt may come at any time
#' @noRd
is_package_function <- function(f) is.primitive(f) || identical(topenv(environment(f)), topenv())

#' The value of some code, or how it has left
#'
#' An exiting handler takes errors, as R signals a stack overflow to no other kind of handler, and the stack is free again by
#' then. What jumps past it can only be stopped by another jump: that of the `return()` in `on.exit()`.
#' @return A list with `way`: "value", "error", "interrupt", "restart", or "jump" for any other.
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
      # a Python exception has a traceback of its own
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

#' The value of some code, or the restart outside of Python that it has invoked
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

#' The restarts that code may invoke, by name; none if there is only the return to R's prompt
#' @noRd
restarts_here <- function() {
  restarts <- computeRestarts()
  names <- vapply(restarts, function(restart) restart[[1]] %||% "", "")
  restarts <- stats::setNames(restarts, names)[
    nzchar(names) & !duplicated(names) & names != "raise_py_exception"
  ]
  if (identical(names(restarts), "abort")) list() else restarts
}

#' Go on with what R was about to do when it left a function that Python had called, now that Python is out of the way
#' @return Nothing, if it cannot be known: for `callCC()`, a `return()` or `break` elsewhere, and the debugger's Q.
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

#' Stop while there is still room on R's stack
#'
#' When it is full, R jumps wherever it is, past Python too. Python needs more of it than R at a time.
#' @param share Of the whole, which must be free.
#' @noRd
check_stack <- function(share, call = NULL) {
  stack <- Cstack_info()
  full <- isTRUE(stack[["current"]] > (1 - share) * stack[["size"]]) ||
    stack[["eval_depth"]] > getOption("expressions") - 500
  if (full) {
    abort_kerasfit(
      c(
        "Functions call each other too deeply: too little is left of R's stack to call Python.",
        i = "Is there a function that calls itself for ever, such as a callback that trains with itself?"
      ),
      "state",
      call
    )
  }
}

# ---- time limits ---------------------------------------------------------------------------------------------

#' Whether an error is that of `setTimeLimit()` or `setSessionTimeLimit()`
#' @noRd
is_time_limit <- function(error) {
  is_condition_of_r(error) && is_time_limit_message(conditionMessage(error))
}

is_time_limit_message <- function(text) {
  limits <- c(
    "reached elapsed time limit",
    "reached CPU time limit",
    "reached session elapsed time limit",
    "reached session CPU time limit"
  )
  any(vapply(c(limits, gettext(limits, domain = "R")), grepl, NA, text, fixed = TRUE))
}

#' Interrupt Python if a time limit has been reached
#'
#' R looks for it while it runs R code, as it does here, and while reticulate lets it process events, where its error is printed
#' and ends nothing.
#' @noRd
check_time_limit <- function() {
  allowInterrupts(Sys.sleep(0))
  if (note_printed_time_limit()) {
    signal_interrupt()
  }
  NULL
}

#' Note that a time limit has been reached whose error R has printed since [forget_errors()]
#' @noRd
note_printed_time_limit <- function() {
  printed <- geterrmessage()
  if (is_time_limit_message(printed)) {
    call_state$time_limit <- sub("\n$", "", sub("^.*?: ", "", printed))
    forget_errors()
  }
  !is.null(call_state$time_limit)
}

#' Make `geterrmessage()` forget the error of a time limit
#' @noRd
forget_errors <- function() {
  if (is_time_limit_message(geterrmessage())) try(stop("", call. = FALSE), silent = TRUE)
}
