#' A callback of Keras or the core, made with the arguments of the function that calls this
#'
#' @param whole Names of arguments that are whole numbers in Python.
#' @param paths Names of arguments that are paths of files.
#' @param numbers Names of arguments that are numbers or NULL.
#' @param own Names of arguments that are not for Python.
#' @param ... More arguments.
#' @noRd
keras_callback <- function(
  class,
  whole = character(),
  paths = character(),
  numbers = character(),
  own = character(),
  module = keras$callbacks,
  ...
) {
  call <- sys.call(-1)
  defaults <- as.list(formals(sys.function(-1)))
  defaults <- defaults[setdiff(names(defaults), c(own, "..."))]
  arguments <- mget(as.character(names(defaults)), parent.frame())
  # an older Keras may not know an argument that nobody has set
  set <- !mapply(identical, arguments, defaults)
  absent <- names(defaults)[!set & vapply(defaults, is.symbol, NA)]
  if (length(absent)) {
    abort_argument(absent[[1]], sprintf("`%s` must be given.", absent[[1]]), call)
  }
  arguments <- arguments[set]
  for (name in names(arguments)) {
    kind <- if (name %in% whole) {
      "whole"
    } else if (name %in% paths) {
      "path"
    } else if (name %in% numbers) {
      "numeric"
    } else {
      class(defaults[[name]])
    }
    arguments[name] <- list(callback_argument(arguments[[name]], name, kind, call))
  }
  rlang::try_fetch(
    with_r_errors(
      rlang::inject(module[[class]](
        !!!lapply(arguments, reticulate::r_to_py),
        !!!collect_dots(...)
      )),
      call
    ),
    kerasfit_error_python = function(error) {
      named <- Filter(
        function(name) grepl(sprintf("\\b%s\\b", name), conditionMessage(error)),
        names(arguments)
      )
      if (!length(named)) {
        return(rlang::zap())
      }
      abort_kerasfit(
        conditionMessage(error),
        "argument",
        call,
        argument = named[[1]],
        python_traceback = error$python_traceback
      )
    }
  )
}

#' The module with the core's callbacks, whose attributes are R values
#' @noRd
core_callbacks <- function() {
  core$fit # loads it
  reticulate::import("kerasfit")
}

#' An argument as a callback in Python takes it
#' @param kind "whole", "path", or the class that its default has.
#' @noRd
callback_argument <- function(value, name, kind, call) {
  words <- list(
    mode = c("auto", "min", "max"),
    save_freq = "epoch",
    update_freq = c("epoch", "batch"),
    learning_rate = c("stored", "model")
  )[[name]]
  if (name %in% c("mode", "learning_rate")) {
    return(check_choice(value, words, name, call))
  }
  if (name == "verbose" && is.logical(value)) {
    value <- as.integer(value)
  }
  value <- plain_numbers(value)
  one <- is.atomic(value) && length(value) == 1 && !is.na(value)
  string <- one && is.character(value)
  if (reticulate::is_py_object(value) || string && value %in% words) {
    return(value)
  }
  wanted <- switch(
    kind,
    whole = if (!is_whole(value) || !length(value) %in% c(1, if (name == "profile_batch") 2)) {
      "a whole number"
    },
    path = if (!string) paste("the path of a", if (endsWith(name, "dir")) "folder" else "file"),
    numeric = if (!one || !is.numeric(value)) "a number",
    character = if (!string) "a string",
    logical = if (!isTRUE(value) && !isFALSE(value)) "TRUE or FALSE"
  )
  if (!is.null(wanted)) {
    wanted <- paste(c(dQuote(words, FALSE), wanted), collapse = " or ")
    abort_argument(name, sprintf("`%s` must be %s, not %s.", name, wanted, describe(value)), call)
  }
  switch(
    kind,
    whole = as.integer(pmin(value, .Machine$integer.max)),
    path = path_to_core(value, name, call),
    value
  )
}

#' Whether values are whole numbers; Inf is one, as "never" is
#' @noRd
is_whole <- function(value) {
  is.numeric(value) && !anyNA(value) && all(value == trunc(value) & value >= -.Machine$integer.max)
}
