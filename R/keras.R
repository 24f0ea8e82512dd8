#' The Keras module
#'
#' The Python module `keras`. It loads when it is first used, with the backend that [use_backend()] chose.
#'
#' @format A Python module: `keras$layers`, `keras$optimizers`, `keras$callbacks` and so on, as in Keras's own
#'   documentation. Whole numbers that Keras wants as integers are written with an `L`: `keras$layers$Dense(16L)`.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(
#'   keras$layers$Dense(16L, activation = "relu"),
#'   keras$layers$Dense(1L)
#' ))
#' @export
keras <- NULL

#' A module of the core, imported when it is first used
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
  # reticulate delays nothing once Python runs
  prepare()
  tryCatch(import(), error = abort_loading)
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

#' Say why Keras does not load, and what to do
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
      i = "`install_kerasfit()` installs what is needed; `reticulate::use_virtualenv()` chooses another Python."
    ),
    kind = "python",
    call = NULL,
    python_traceback = paste(traceback, collapse = "")
  )
}

#' Have PyTorch, where it is the backend, use its own BLAS and not R's: `inst/python/kerasfit/torch_library.py` says why
#' @return `FALSE` if it is too late for that.
#' @noRd
load_torch_library <- function(python) {
  if (default_backend() != "torch") {
    return(TRUE)
  }
  reticulate::import_from_path("torch_library", file.path(python, "kerasfit"))$load_torch_library()
}

warn_of_blas <- function() {
  warn_kerasfit(c(
    sprintf(
      "PyTorch was loaded before kerasfit and computes with R's BLAS (%s), often many times slower.",
      extSoftVersion()[["BLAS"]]
    ),
    i = "Call `library(kerasfit)` before anything that uses Python."
  ))
}

#' Set an environment variable for R and for a Python that may be running already
#' @noRd
set_python_environment <- function(name, value) {
  do.call(Sys.setenv, stats::setNames(list(value), name))
  if (reticulate::py_available()) {
    # by its bytes: in the C locale, a path with other letters is no text
    if (.Platform$OS.type == "windows") {
      value <- enc2utf8(value)
    } # where Python's paths are UTF-8 in any locale
    os <- reticulate::import("os", convert = FALSE)
    bytes <- reticulate::import_builtins(convert = FALSE)$bytes(as.list(as.integer(charToRaw(
      value
    ))))
    os$environ$update(reticulate::dict(stats::setNames(list(os$fsdecode(bytes)), name)))
  }
}

#' The folder that is to hold the folder of compiled programs, "" for none: `inst/python/kerasfit/cache.py` makes it
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
#' Where Python does not run, finding out would start it, and reticulate might download it. So the answer is `FALSE` there,
#' but for people and for developers' checks.
#' @noRd
has_keras <- function() {
  may_start <- interactive() || identical(Sys.getenv("NOT_CRAN"), "true")
  reticulate::py_available(initialize = may_start) &&
    !is.null(reticulate::import("importlib.util")$find_spec("keras"))
}

keras_is_loaded <- function() {
  reticulate::py_available() && "keras" %in% names(reticulate::import("sys")$modules)
}
