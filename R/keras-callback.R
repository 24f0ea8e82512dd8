#' Make a callback of Keras or of the core
#'
#' Arguments left at their defaults are not passed on, since an older Keras may not know them.
#' @param class The name of the class in `module`.
#' @param arguments A named list with the arguments of the calling function.
#' @param whole,paths,numbers,lists Names of arguments that must be whole numbers, paths, or numbers
#'   or named lists whose default is NULL. Any other argument must have the type of its default.
#' @param ... Further arguments for the class, which are not checked.
#' @param defaults The defaults of the calling function's arguments.
#' @noRd
keras_callback <- function(
  class,
  arguments = list(),
  whole = character(),
  paths = character(),
  numbers = character(),
  lists = character(),
  module = keras$callbacks,
  ...,
  defaults = formals(rlang::caller_fn()),
  call = rlang::caller_call()
) {
  force(call)
  defaults <- as.list(defaults)[intersect(names(defaults), names(arguments))]
  arguments <- arguments[names(defaults)]
  is_set <- !as.logical(mapply(identical, arguments, defaults))
  required <- vapply(defaults, rlang::is_missing, NA)
  for (name in names(defaults)[required & !is_set]) {
    abort_argument(name, sprintf("`%s` must be given.", name), call)
  }
  types <- vapply(defaults, function(default) class(default)[[1]], "")
  types[names(defaults) %in% whole] <- "whole"
  types[names(defaults) %in% paths] <- "path"
  types[names(defaults) %in% numbers] <- "numeric"
  types[names(defaults) %in% lists] <- "list"
  set <- names(defaults)[is_set]
  check <- function(value, name, type) callback_argument(value, name, type, call)
  arguments <- Map(check, arguments[set], set, types[set])
  rlang::try_fetch(
    with_r_errors(
      rlang::inject(module[[class]](
        !!!lapply(arguments, reticulate::r_to_py),
        !!!collect_dots(...)
      )),
      call
    ),
    kerasfit_error_python = function(error) abort_named_argument(error, set, call)
  )
}

#' Raise Keras's error as that of an argument if its message names one
#' @noRd
abort_named_argument <- function(error, arguments, call) {
  message <- conditionMessage(error)
  is_named <- vapply(sprintf("\\b%s\\b", arguments), grepl, NA, message)
  if (!any(is_named)) {
    return(rlang::zap())
  }
  abort_kerasfit(
    message,
    "argument",
    call,
    argument = arguments[is_named][[1]],
    python_traceback = error$python_traceback
  )
}

#' The Python module with the callbacks of the core
#' @noRd
core_callbacks <- function() {
  core$fit # loads it
  reticulate::import("kerasfit")
}

#' Check an argument of a callback and convert it to what the Python class expects
#' @param type "whole", "path", "list", or the class of the argument's default.
#' @noRd
callback_argument <- function(value, name, type, call) {
  choices <- list(mode = c("auto", "min", "max"), learning_rate = c("stored", "model"))[[name]]
  if (!is.null(choices)) {
    return(check_choice(value, choices, name, call))
  }
  words <- list(save_freq = "epoch", update_freq = c("epoch", "batch"))[[name]]
  if (name == "verbose" && is.logical(value)) {
    value <- as.integer(value)
  }
  value <- plain_numbers(value)
  if (reticulate::is_py_object(value) || (!is.null(words) && rlang::is_string(value, words))) {
    return(value)
  }
  if (name == "embeddings_metadata" && rlang::is_string(value)) {
    return(value) # Keras accepts one file for all layers too
  }
  is_number <- is.numeric(value) && length(value) == 1 && !is.na(value)
  counts <- if (name == "profile_batch") 1:2 else 1L
  minimum <- switch(name, steps = 2, every = , save_freq = , update_freq = 1, 0)
  expected <- switch(
    type,
    whole = if (!is_whole(value) || !length(value) %in% counts || any(value < minimum)) {
      sprintf("a whole number, %d or more", minimum)
    },
    path = if (!rlang::is_string(value)) {
      paste("the path of a", if (endsWith(name, "dir")) "folder" else "file")
    },
    list = if (!is.list(value) || !rlang::is_named(value)) "a named list",
    numeric = if (!is_number) "a number",
    character = if (!rlang::is_string(value)) "a string",
    logical = if (!rlang::is_bool(value)) "TRUE or FALSE"
  )
  if (!is.null(expected)) {
    expected <- paste(c(dQuote(words, FALSE), expected), collapse = " or ")
    message <- sprintf("`%s` must be %s, not %s.", name, expected, describe(value))
    abort_argument(name, message, call)
  }
  switch(
    type,
    whole = as.integer(pmin(value, .Machine$integer.max)),
    path = path_to_core(value, name, call),
    value
  )
}

#' Whether all values are whole numbers; `Inf`, which means "never", is one
#' @noRd
is_whole <- function(value) {
  is.numeric(value) && !anyNA(value) && all(value == trunc(value) & value >= -.Machine$integer.max)
}
