#' The hooks of callbacks, with the arguments of their functions
#' @noRd
callback_hooks <- local({
  phases <- c("train", "test", "predict")
  batch <- outer(phases, c("begin", "end"), function(phase, end) {
    sprintf("on_%s_batch_%s", phase, end)
  })
  whole <- outer(phases, c("begin", "end"), function(phase, end) sprintf("on_%s_%s", phase, end))
  c(
    list(on_epoch_begin = c("epoch", "logs"), on_epoch_end = c("epoch", "logs")),
    stats::setNames(rep(list(c("batch", "logs")), 6), batch),
    list(on_batch_begin = c("batch", "logs"), on_batch_end = c("batch", "logs")),
    stats::setNames(rep(list("logs"), 6), whole)
  )
})

#' Check that hooks exist and are functions
#' @noRd
check_hooks <- function(hooks, call) {
  unknown <- setdiff(rlang::names2(hooks), names(callback_hooks))
  if (length(unknown)) {
    abort_argument(
      "...",
      sprintf("Callbacks have no hook `%s`.", unknown[[1]]),
      call,
      hint = paste0("The hooks are ", paste0("`", names(callback_hooks), "`", collapse = ", "), ".")
    )
  }
  for (name in names(hooks)) {
    if (!is.function(hooks[[name]])) {
      abort_argument(
        "...",
        sprintf("`%s` must be a function, not %s.", name, describe(hooks[[name]])),
        call
      )
    }
  }
}

#' Convert a callback or a list of callbacks, which may include functions named after hooks
#' @param position,name The position of `value` in a list, and its name there.
#' @noRd
callbacks_to_core <- function(value, call, position = 1, name = "") {
  if (is_r_callback(value)) {
    check_not_stale(value$.__enclos_env__$private$.class, "callbacks", call)
    begin_callback(value)
  } else if (reticulate::is_py_object(value)) {
    check_not_stale(value, "callbacks", call)
  } else if (is.list(value)) {
    names <- rlang::names2(value)
    if (any(vapply(value, is.function, NA)) && all(names %in% names(callback_hooks))) {
      return(hooks_to_core(value))
    }
    reticulate::r_to_py(lapply(seq_along(value), function(i) {
      callbacks_to_core(value[[i]], call, i, names[[i]])
    }))
  } else if (is.function(value) && nzchar(name) && !inherits(value, "kerasfit_callback_class")) {
    hooks_to_core(stats::setNames(list(value), name))
  } else if (is.function(value) || is.environment(value)) {
    abort_not_callback(value, call, position)
  } else {
    value
  }
}

#' Raise an error for a value that is not a callback
#' @noRd
abort_not_callback <- function(value, call, position) {
  is_class <- inherits(value, c("kerasfit_callback_class", "R6ClassGenerator"))
  hint <- if (is_class) {
    "Call the class to create a callback."
  } else if (is.function(value)) {
    paste(
      "Name functions after hooks, `list(on_epoch_end = function(epoch, logs) ...)`,",
      "and call functions that create callbacks."
    )
  } else {
    "Define a class with `Callback()`, or use functions named after hooks."
  }
  what <- paste("an object of class", class(value)[[1]])
  if (is.function(value)) {
    what <- "a function without a name"
  }
  if (is_class) {
    what <- "a class"
  }
  abort_argument(
    "callbacks",
    sprintf("Element %d of `callbacks` must be a callback, not %s.", position, what),
    call,
    hint
  )
}

#' Convert functions named after hooks, each of which is called with the arguments that it has
#' @noRd
hooks_to_core <- function(hooks) {
  functions <- Map(
    function(f, name) {
      known <- is.function(f) && name %in% names(callback_hooks)
      if (known) hook_to_core(f, callback_hooks[[name]]) else reticulate::r_to_py(f)
    },
    hooks,
    names(hooks)
  )
  reticulate::dict(functions, convert = FALSE)
}

#' Convert a function to a hook for Python, which returns updates of the logs: the numbers in a
#' named list
#' @noRd
hook_to_core <- function(f, arguments) {
  f <- match_arguments(f, arguments)
  hook <- function(...) {
    value <- do.call(f, lapply(list(...), mark_utf8))
    if (
      !is.list(value) || is.object(value) || !length(value) || !all(nzchar(rlang::names2(value)))
    ) {
      return(NULL)
    }
    is_number <- function(x) length(x) == 1 && (is.numeric(x) || is.logical(x))
    list_to_core(Filter(is_number, lapply(value, plain_numbers)))
  }
  reticulate::r_to_py(hook, convert = TRUE)
}

#' Make a function that passes on only the arguments that `f` has: by name, or else the first ones
#' @param given Names of the arguments that the new function gets.
#' @noRd
match_arguments <- function(f, given) {
  has <- names(formals(args(f)))
  if ("..." %in% has) {
    return(function(...) run_user_code(f(...)))
  }
  taken <- if (all(has %in% given)) match(has, given) else seq_len(min(length(has), length(given)))
  named <- all(has %in% given)
  function(...) {
    values <- list(...)[taken]
    run_user_code(do.call(f, if (named) stats::setNames(values, has) else values))
  }
}

is_r_callback <- function(value) {
  is.environment(value) && inherits(value, "R6") && inherits(value, "Callback")
}

#' Create the Python object of an R callback
#' @noRd
begin_callback <- function(callback) callback$.__enclos_env__$private$.begin()

end_callbacks <- function(callbacks) {
  if (is_r_callback(callbacks)) {
    callbacks$.__enclos_env__$private$.end()
  } else if (is.list(callbacks) && !reticulate::is_py_object(callbacks)) {
    lapply(callbacks, end_callbacks)
  }
  invisible()
}
