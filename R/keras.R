#' The Keras module
#'
#' The Python module `keras`. It loads at its first use, with the backend chosen by [use_backend()].
#'
#' @format A Python module: `keras$layers`, `keras$optimizers`, `keras$callbacks` and so on, as in
#'   Keras's documentation. Whole numbers must be written with an `L` where Keras expects integers:
#'   `keras$layers$Dense(16L)`.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(
#'   keras$layers$Dense(16L, activation = "relu"),
#'   keras$layers$Dense(1L)
#' ))
#' @export
keras <- NULL

#' Import a Python module of the core when it is first used
#' @noRd
import_core <- function(module, python, convert = FALSE) {
  prepare <- function() {
    note_loading()
    set_python_environment("KERAS_BACKEND", default_backend())
    set_python_environment("KERASFIT_CACHE", program_cache())
    if (!load_torch_library(python)) {
      warn_of_blas()
    }
    path <- reticulate::import("sys", convert = FALSE)$path
    if (!python %in% reticulate::py_to_r(path)) path$insert(0L, python)
  }
  delayed <- list(
    before_load = prepare,
    get_environment = function() "r-kerasfit",
    on_error = abort_loading
  )
  import <- function() reticulate::import(module, convert = convert, delay_load = delayed)
  if (!reticulate::py_available()) {
    return(import())
  }
  # reticulate does not delay imports once Python is running
  prepare()
  tryCatch(import(), error = abort_loading)
}

#' Import a module of the core whose functions are looked up once
#'
#' reticulate reads a function's signature each time that it is looked up, which takes a tenth of
#' the time of [predict()] for one sample.
#' @noRd
import_core_functions <- function(module, python) {
  imported <- import_core(module, python)
  attr(imported, "functions") <- new.env()
  class(imported) <- c("kerasfit_core", class(imported))
  imported
}

#' @export
`$.kerasfit_core` <- function(x, name) {
  known <- attr(x, "functions")
  part <- known[[name]]
  if (is.null(part)) {
    part <- NextMethod()
    if (is.function(part)) assign(name, part, known)
  }
  part
}

import_keras <- function(python) {
  keras <- import_core("kerasfit.bridges.keras", python, convert = TRUE)
  class(keras) <- c("kerasfit_keras", class(keras))
  keras
}

#' @export
`$.kerasfit_keras` <- function(x, name) {
  check_process(sys.call())
  part <- NextMethod()
  if (inherits(part, "python.builtin.module")) {
    class(part) <- union("kerasfit_keras", class(part))
  } else if (is.function(part) && reticulate::is_py_object(part)) {
    part <- with_integer_hint(part)
  }
  part
}

#' Raise an error that says why Keras cannot be loaded, and what to do
#' @noRd
abort_loading <- function(error) {
  traceback <- if (reticulate::is_py_object(error)) {
    reticulate::import("traceback")$format_exception(error)
  }
  abort_kerasfit(
    c(
      sprintf(
        "Keras cannot be loaded with the backend \"%s\": %s.",
        default_backend(),
        sub("\n.*", "", conditionMessage(error))
      ),
      i = sprintf("Python is %s.", reticulate::py_config()$python),
      i = paste(
        sprintf("Install the packages with `%s`,", install_call(default_backend())),
        "or choose another Python with `reticulate::use_virtualenv()`."
      )
    ),
    kind = "python",
    call = NULL,
    python_traceback = paste(traceback, collapse = "")
  )
}

#' The call that installs the packages for a backend
#' @noRd
install_call <- function(backend) {
  known <- backend %in% names(backend_packages)
  if (known) sprintf("install_kerasfit(backend = \"%s\")", backend) else "install_kerasfit()"
}

#' Make PyTorch use its own BLAS instead of R's, see `inst/python/kerasfit/runtime/torch_blas.py`
#' @return `FALSE` if it is too late for that.
#' @noRd
load_torch_library <- function(python) {
  if (default_backend() != "torch") {
    return(TRUE)
  }
  folder <- file.path(python, "kerasfit", "runtime")
  reticulate::import_from_path("torch_blas", folder)$load_torch_library()
}

warn_of_blas <- function() {
  warn_kerasfit(c(
    sprintf(
      "PyTorch was loaded before kerasfit and uses R's BLAS (%s), which is often much slower.",
      extSoftVersion()[["BLAS"]]
    ),
    i = paste(
      "Restart R, and call `library(kerasfit)` and `use_backend(\"torch\")`",
      "before anything that uses Python."
    )
  ))
}

#' Set an environment variable in R and, if it is running, in Python
#' @noRd
set_python_environment <- function(name, value) {
  do.call(Sys.setenv, stats::setNames(list(value), name))
  if (reticulate::py_available()) {
    if (.Platform$OS.type == "windows") {
      value <- enc2utf8(value) # the encoding of Python's paths on Windows in every locale
    }
    # as bytes, since a path that is not ASCII is not valid text in the C locale
    codes <- as.list(as.integer(charToRaw(value)))
    bytes <- reticulate::import_builtins(convert = FALSE)$bytes(codes)
    os <- reticulate::import("os", convert = FALSE)
    os$environ$update(reticulate::dict(stats::setNames(list(os$fsdecode(bytes)), name)))
  }
}

#' The folder in which to create the folder for compiled programs, or "" for none
#'
#' The folder is created by `inst/python/kerasfit/runtime/compilation_cache.py`.
#' @noRd
program_cache <- function() {
  cache <- getOption("kerasfit.cache", default = Sys.getenv("KERASFIT_CACHE", NA))
  if (!is.logical(cache) && !is.character(cache) || length(cache) != 1) {
    abort_argument(
      "kerasfit.cache",
      sprintf("`options(kerasfit.cache = )` must be a folder or FALSE, not %s.", describe(cache))
    )
  }
  if (isFALSE(cache) || nzchar(Sys.getenv("_R_CHECK_PACKAGE_NAME_"))) {
    ""
  } else if (is.character(cache) && !is.na(cache)) {
    if (is.null(getOption("kerasfit.cache"))) {
      path.expand(cache)
    } else {
      path_to_core(cache, "kerasfit.cache", NULL)
    }
  } else {
    tools::R_user_dir("kerasfit", "cache")
  }
}

#' Whether examples can use Keras
#'
#' To find out, Python must be running. Starting it may make reticulate download it, which is
#' acceptable only in interactive sessions and in checks by developers. Otherwise the answer is
#' `FALSE`.
#' @noRd
has_keras <- function() {
  may_start <- interactive() || identical(Sys.getenv("NOT_CRAN"), "true")
  reticulate::py_available(initialize = may_start) &&
    !is.null(reticulate::import("importlib.util")$find_spec("keras"))
}

keras_is_loaded <- function() {
  reticulate::py_available() && "keras" %in% names(reticulate::import("sys")$modules)
}
