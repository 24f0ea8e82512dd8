#' The hooks of Keras's callbacks, and the arguments of their functions
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

check_hooks <- function(hooks, call) {
  unknown <- setdiff(rlang::names2(hooks), names(callback_hooks))
  if (length(unknown)) {
    abort_argument(
      "...",
      sprintf("A callback has no hook of the name `%s`.", unknown[[1]]),
      call,
      hint = paste0("There are ", paste0("`", names(callback_hooks), "`", collapse = ", "), ".")
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

#' A callback, or a list of callbacks; a function by the name of a hook is one too
#' @param position Where it is in a list, and under which name.
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

#' Say what is not a callback, and what would be one
#' @noRd
abort_not_callback <- function(value, call, position) {
  is_class <- inherits(value, c("kerasfit_callback_class", "R6ClassGenerator"))
  hint <- if (is_class) {
    "Call it, to make a callback of the class."
  } else if (is.function(value)) {
    "Name a function by its hook, `list(on_epoch_end = function(epoch, logs) ...)`; call one that makes callbacks."
  } else {
    "`Callback()` makes classes of callbacks, and callbacks may be functions by the names of hooks."
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
    sprintf("Element %d of `callbacks` is no callback but %s.", position, what),
    call,
    hint
  )
}

#' Functions by the names of hooks, each called with those of a hook's arguments that it has
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

#' A function as a hook of Python's, which gives back what the logs are to have besides: the numbers in a named list
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
    is_number <- function(x) length(x) == 1 && (is.numeric(x) || is.logical(x)) # not a model that somebody keeps
    list_to_core(Filter(is_number, lapply(value, plain_numbers)))
  }
  reticulate::r_to_py(hook, convert = TRUE)
}

#' A function of some arguments that calls another one, of the user's, with those that it has: by name, or else the first
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

#' Begin, or end, the use of the callbacks among some that are R's
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
