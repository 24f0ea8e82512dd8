# Conversion of the arguments of fit(), evaluate() and predict() that are not data.

#' Convert a scalar argument, which the core checks
#' @noRd
scalar_to_core <- function(value, argument, call) {
  if (is.null(value)) {
    return(NULL)
  }
  value <- plain_numbers(value)
  if (is.atomic(value) && anyNA(value)) {
    abort_argument(argument, sprintf("`%s` must not be NA.", argument), call)
  }
  if (is.list(value) || length(value) > 1) {
    return(reticulate::r_to_py(value))
  }
  reticulate::r_to_py(if (is.atomic(value)) unname(value) else value)
}

#' Convert class weights: a named list or vector, or a named list of these
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

#' Convert `verbose`; "auto" is 2 in knitr, where a progress bar cannot be redrawn
#' @noRd
verbose_to_core <- function(verbose, call) {
  if (identical(verbose, "auto") && isTRUE(getOption("knitr.in.progress"))) {
    2L
  } else {
    scalar_to_core(verbose, "verbose", call)
  }
}

#' The arguments that come from options, and the console
#' @noRd
execution_arguments <- function(call) {
  list(
    plan = plan_to_core(call),
    kernels = kernels_to_core(call),
    allow_missing = allow_missing_to_core(call),
    writer = console_writer()
  )
}

#' How the core runs steps: an option instead of an argument, since results are right without it
#' @noRd
plan_to_core <- function(call) {
  plan <- getOption("kerasfit.plan", default = "auto")
  if (!rlang::is_string(plan)) {
    message <- sprintf(
      "`%s` must be a string, not %s.",
      option_label("kerasfit.plan"),
      describe(plan)
    )
    abort_argument("kerasfit.plan", message, call)
  }
  plan
}

#' Whether faster functions may replace Keras's: an option, to find out whether they cause a problem
#' @noRd
kernels_to_core <- function(call) {
  wanted <- !tolower(Sys.getenv("KERASFIT_KERNELS")) %in% c("0", "false", "no", "off")
  logical_option("kerasfit.kernels", wanted, call)
}

#' Whether data may contain missing and infinite values: an option, since few models can use them
#' @noRd
allow_missing_to_core <- function(call) logical_option("kerasfit.allow_missing", FALSE, call)

#' The value of an option that must be TRUE or FALSE
#' @noRd
logical_option <- function(name, default, call) {
  value <- getOption(name, default = default)
  if (!rlang::is_bool(value)) {
    message <- sprintf("`%s` must be TRUE or FALSE, not %s.", option_label(name), describe(value))
    abort_argument(name, message, call)
  }
  value
}

#' How errors name an option: as it is written in code
#' @noRd
option_label <- function(name) sprintf("options(%s = )", name)

#' Convert the path of a file or folder, after checking that Python can open it under the same name
#' @noRd
path_to_core <- function(path, argument, call) {
  if (!can_be_path(path)) {
    abort_argument(
      argument,
      sprintf(
        "`%s` has characters that paths cannot have in this locale, %s: %s.",
        argument,
        Sys.getlocale("LC_CTYPE"),
        dQuote(iconv(path, "UTF-8", "ASCII", sub = "Unicode"), FALSE)
      ),
      call,
      paste(
        "Start R in a UTF-8 locale, for example with the environment variable LC_ALL=C.UTF-8,",
        "or use another path."
      )
    )
  }
  path.expand(path)
}

#' Whether a path has the same meaning in R, Python and the file system
#'
#' In the C locale, R passes bytes that are not ASCII to Python as text such as "<c3><bc>", and
#' Python cannot use letters that are not ASCII.
#' @noRd
can_be_path <- function(path) {
  is_ascii <- function(text) all(charToRaw(text) < 128)
  text <- enc2utf8(path)
  is_ascii(path) || !is_ascii(text) && identical(enc2utf8(enc2native(text)), text)
}
