# Other R processes that work for this one, and what they must know of this session.

#' The settings of this session that workers need: packages, options, Python and the backend
#' @noRd
session_settings <- function() {
  options <- options()
  list(
    packages = rev(setdiff(.packages(), c("base", "tools:rstudio"))),
    options = options[grepl("^keras(fit)?[.]", names(options))],
    python = if (reticulate::py_available()) reticulate::py_exe(),
    backend = default_backend()
  )
}

#' Apply the settings of another session to this one, in which Python may be running already
#' @param cores The number of processor cores that Python may use; NULL for all.
#' @noRd
apply_settings <- function(settings, cores = NULL) {
  options(settings$options)
  if (!keras_is_loaded()) {
    Sys.setenv(KERAS_BACKEND = settings$backend)
    if (!is.null(settings$python) && !reticulate::py_available()) {
      Sys.setenv(RETICULATE_PYTHON = settings$python)
    }
    if (!is.null(cores)) limit_threads(cores)
  } else if (default_backend() != settings$backend) {
    abort_kerasfit(
      c(
        sprintf(
          'A worker has loaded Keras with the backend "%s", and this session uses "%s".',
          default_backend(),
          settings$backend
        ),
        i = "Start new workers: call `future::plan()` again."
      ),
      "state",
      call = NULL
    )
  }
  for (package in settings$packages) {
    suppressWarnings(suppressPackageStartupMessages(require(package, character.only = TRUE)))
  }
}

#' Limit the threads of each backend in this process, before it loads
#'
#' NPROC is the size of JAX's pool of threads, see `DefaultThreadPoolSize()` in XLA.
#' @noRd
limit_threads <- function(cores) {
  variables <- c("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
  given <- nzchar(Sys.getenv(variables))
  for (name in variables[!given]) {
    set_python_environment(name, as.character(cores))
  }
}

#' Find the variables that code needs from outside, to send them to a worker
#'
#' Functions are sent with their environments, except the global environment. So the variables of
#' the global environment are needed, also those that functions use; and those of other environments
#' only for expressions.
#' @param expressions A list of expressions, evaluated in `env`.
#' @param functions A list of functions.
#' @param argument The argument with the code.
#' @param model The model that the worker trains, of which it must not get a copy.
#' @return A list of two named lists of values: `global` and `local`.
#' @noRd
variables_of <- function(expressions, env, functions, argument, call, model = NULL) {
  found <- list(global = list(), local = list())
  seen <- list()
  collect <- function(code, env, is_expression) {
    variables <- globals::globalsOf(code, envir = env, mustExist = FALSE, recursive = FALSE)
    where <- attr(variables, "where")
    for (name in names(variables)) {
      if (is_of_package(where[[name]])) {
        next
      }
      value <- variables[[name]]
      kind <- if (identical(where[[name]], globalenv())) "global" else "local"
      if (kind == "global" || is_expression) {
        subject <- sprintf("`%s` uses `%s`, which", argument, name)
        check_can_be_sent(value, subject, argument, call)
        sent <- if (!is.null(model) && identical(value, model)) trained_model() else value
        found[[kind]][name] <<- list(sent)
      }
      if (is.function(value) && !reticulate::is_py_object(value)) collect_function(value)
    }
  }
  collect_function <- function(value) {
    if (is.primitive(value) || any(vapply(seen, identical, NA, value))) {
      return(invisible())
    }
    seen[[length(seen) + 1]] <<- value
    code <- as.call(list(as.name("function"), formals(value), body(value)))
    collect(code, environment(value), FALSE)
  }
  for (code in expressions) {
    # a constant has no environment
    collect(code, if (identical(env, emptyenv())) baseenv() else env, TRUE)
  }
  for (each in functions) {
    collect_function(each)
  }
  found
}

#' Stands for the model that a worker trains, among the variables that are sent to it
#' @noRd
trained_model <- function() structure(list(), class = "kerasfit_trained_model")

#' Make the variables from `variables_of()` available
#' @return The environment for expressions.
#' @noRd
receive_variables <- function(variables, model = NULL) {
  variables <- lapply(variables, lapply, function(value) {
    if (inherits(value, "kerasfit_trained_model")) model else value
  })
  list2env(variables$global, globalenv())
  list2env(variables$local, new.env(parent = globalenv()))
}

#' Whether an environment has the objects of a package, or those that it imports
#' @noRd
is_of_package <- function(env) {
  is.environment(env) &&
    (isNamespace(env) || grepl("^(package:|imports:|base$)", environmentName(env)))
}

#' Check that a value has no Python objects, which cannot be sent to another process
#' @param subject The beginning of the error.
#' @noRd
check_can_be_sent <- function(value, subject, argument, call) {
  if (reticulate::is_py_object(value) && is.null(state_of(value))) {
    abort_argument(
      argument,
      sprintf("%s is a Python object: it cannot be sent to another process.", subject),
      call,
      "Give R data, or code that creates the object in the other process."
    )
  }
  if (is.list(value) && !is.data.frame(value)) {
    for (element in value) {
      check_can_be_sent(element, subject, argument, call)
    }
  }
  invisible(value)
}

#' Convert data for another process: an Arrow dataset to the paths of its files
#' @noRd
data_to_send <- function(value, argument, call) {
  if (inherits(value, "Dataset") && inherits(value, "ArrowObject")) {
    return(value$files)
  }
  check_can_be_sent(value, sprintf("`%s`", argument), argument, call)
}

#' The error of a worker as plain values
#' @noRd
plain_error <- function(error) {
  list(
    message = conditionMessage(error),
    class = grep("^kerasfit_error", class(error), value = TRUE),
    history = error$history,
    python_traceback = if (is.character(error$python_traceback)) error$python_traceback
  )
}

#' Raise an error that a worker met
#' @param message What failed.
#' @noRd
abort_worker <- function(message, error, call) {
  lines <- c(strsplit(error$message, "\n", fixed = TRUE)[[1]], "")
  rlang::abort(
    c(message, x = lines[[1]], utils::head(lines[-1], -1)),
    class = unique(c(error$class, "kerasfit_error")),
    call = without_arguments(call),
    history = error$history,
    python_traceback = error$python_traceback
  )
}
