# ---- other arguments ---------------------------------------------------------------------------------------

#' A scalar argument; the core says whether it is the right one
#' @noRd
scalar_to_core <- function(value, argument, call) {
  value <- plain_numbers(value)
  if (is.atomic(value) && !is.null(value) && anyNA(value)) {
    abort_argument(argument, sprintf("`%s` must not be NA.", argument), call)
  }
  if (is.list(value) || length(value) > 1 || is.null(value)) {
    return(reticulate::r_to_py(value))
  }
  reticulate::r_to_py(if (is.atomic(value)) unname(value) else value)
}

#' Class weights: a named list or vector, or a named list of those
#' @noRd
class_weight_to_core <- function(value, call) {
  if (is.null(value) || reticulate::is_py_object(value)) {
    return(value)
  }
  value <- plain_numbers(value)
  if (anyDuplicated(names(value))) {
    name <- names(value)[duplicated(names(value))][[1]]
    abort_argument("class_weight", sprintf('`class_weight` names "%s" more than once.', name), call)
  }
  value <- lapply(as.list(value), function(weight) {
    if (is.list(weight) || !is.null(names(weight))) {
      class_weight_to_core(weight, call)
    } else {
      reticulate::r_to_py(weight)
    }
  })
  list_to_core(value)
}

#' "auto" is one line for each epoch inside knitr, where a bar cannot move
#' @noRd
verbose_to_core <- function(verbose, call) {
  if (identical(verbose, "auto") && isTRUE(getOption("knitr.in.progress"))) {
    2L
  } else {
    scalar_to_core(verbose, "verbose", call)
  }
}

#' How the core is to run steps, an option because it is never needed for a right result
#' @noRd
plan_to_core <- function(call) {
  scalar_to_core(getOption("kerasfit.plan", default = "auto"), "kerasfit.plan", call)
}

#' Whether layers may compute with faster functions in the place of Keras's, an option to find out whether these are at fault
#' @noRd
kernels_to_core <- function(call) {
  wanted <- !tolower(Sys.getenv("KERASFIT_KERNELS")) %in% c("0", "false", "no", "off")
  kernels <- getOption("kerasfit.kernels", default = wanted)
  if (!isTRUE(kernels) && !isFALSE(kernels)) {
    message <- sprintf(
      "`options(kerasfit.kernels = )` must be TRUE or FALSE, not %s.",
      describe(kernels)
    )
    abort_argument("kerasfit.kernels", message, call)
  }
  kernels
}

#' Whether data may have missing and infinite values, an option because few models can do with them
#' @noRd
allow_missing_to_core <- function(call) {
  scalar_to_core(
    getOption("kerasfit.allow_missing", default = FALSE),
    "kerasfit.allow_missing",
    call
  )
}

#' The path of a file or folder, which Python opens under the same name
#' @noRd
path_to_core <- function(path, argument, call) {
  if (!can_be_path(path)) {
    abort_argument(
      argument,
      sprintf(
        "`%s` is a path with letters that the session's locale, %s, does not have: %s.",
        argument,
        Sys.getlocale("LC_CTYPE"),
        dQuote(iconv(path, "UTF-8", "ASCII", sub = "Unicode"), FALSE)
      ),
      call,
      "Start R in a UTF-8 locale, with the environment variable LC_ALL=C.UTF-8 for example, or give another path."
    )
  }
  path.expand(path)
}

#' Whether a path means the same for R, Python and the file system
#'
#' In the C locale, R gives bytes that are no ASCII to Python as text such as "<c3><bc>", and Python cannot use other letters.
#' @noRd
can_be_path <- function(path) {
  is_ascii <- function(text) all(charToRaw(text) < 128)
  text <- enc2utf8(path)
  is_ascii(path) || !is_ascii(text) && identical(enc2utf8(enc2native(text)), text)
}
