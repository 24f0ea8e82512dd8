# R values as the core takes them: numpy arrays, pandas categoricals, lists and dicts of them. Only what R alone
# can know is decided here; what the values mean is the core's to say.

#' Data as the core takes it
#'
#' @param label What errors call the value: x, x$a, validation_data[[2]].
#' @noRd
data_to_core <- function(value, label, call) {
  if (is.null(value)) {
    value
  } else if (reticulate::is_py_object(value)) {
    check_not_stale(value, label, call)
  } else if (is.atomic(value) && !is.object(value)) {
    atomic_to_core(value, label, call)
  } else if (is.function(value)) {
    generator_to_core(value, label, call)
  } else if (is.factor(value)) {
    bridge$factor(array_to_core(as.integer(value)), as.list(levels(value)))
  } else if (is.data.frame(value)) {
    data_frame_to_core(value, label, call)
  } else if (inherits(value, "ArrowTabular")) {
    data_to_core(as.data.frame(value), label, call)
  } else if (inherits(value, "sparseMatrix")) {
    sparse_to_core(value, call)
  } else if (inherits(value, c("Date", "POSIXt", "difftime"))) {
    abort_unsupported(
      value,
      label,
      "Give numbers, for example `as.numeric()` of it, on a scale that suits training.",
      call
    )
  } else if (inherits(value, "integer64")) {
    data_to_core(plain_numbers(value), label, call)
  } else if (is.list(value) && !is.object(value)) {
    if (!all(nzchar(names(value)))) {
      abort_argument(
        argument_of(label),
        sprintf("`%s` is a list with some elements named and others not.", label),
        call
      )
    }
    labels <- if (is.null(names(value))) {
      sprintf("%s[[%d]]", label, seq_along(value))
    } else {
      paste0(label, "$", names(value))
    }
    list_to_core(Map(function(element, label) data_to_core(element, label, call), value, labels))
  } else if (!is.null(plain <- strip_class(value))) {
    data_to_core(plain, label, call)
  } else {
    abort_unsupported(
      value,
      label,
      paste(
        "Give an ordinary vector, matrix or array, which `as.matrix()` or `as.numeric()` may make of it, or a list of them."
      ),
      call
    )
  }
}

#' What an object of some class holds where that is a vector, matrix or array: of a table, a time series, `I()`, a matrix of
#' the package Matrix and so on
#' @return NULL if it is something else.
#' @noRd
strip_class <- function(value) {
  if (inherits(value, "AsIs")) {
    structure(value, class = setdiff(class(value), "AsIs"))
  } else if (inherits(value, "Matrix")) {
    as.matrix(value)
  } else if (inherits(value, "sparseVector")) {
    as.vector(value)
  } else if (is.atomic(value) && !isS4(value) && !inherits(value, "dist")) {
    # what is S4 may keep something else in numbers
    dim <- dim(value)
    attributes(value) <- NULL
    if (is.null(dim)) value else array(value, dim)
  }
}

#' A vector, matrix or array without a class
#' @noRd
atomic_to_core <- function(value, label, call) {
  if (is.complex(value)) {
    abort_unsupported(value, label, "Give numbers, for example `Mod()` of it.", call)
  }
  if (is.null(dim(value)) && length(value) > .Machine$integer.max) {
    abort_kerasfit(
      c(
        sprintf(
          "`%s` has %.0f values, and a vector of R can have %d rows.",
          label,
          length(value),
          .Machine$integer.max
        ),
        i = "Give a generator, a dataset, or an array of numpy's."
      ),
      "data",
      call,
      argument = argument_of(label)
    )
  }
  if (!is.double(value)) {
    check_missing(value, label, call)
  }
  if (is.raw(value)) {
    storage.mode(value) <- "integer"
  }
  array_to_core(value)
}

#' An atomic vector or array as a numpy array: a view of R's memory, not a copy
#' @noRd
array_to_core <- function(value) {
  if (is.null(dim(value))) {
    dim(value) <- length(value)
  }
  reticulate::r_to_py(value)
}

#' A sparse matrix of the package Matrix as one of scipy's
#' @noRd
sparse_to_core <- function(value, call) {
  if (!reticulate::py_module_available("scipy")) {
    abort_kerasfit(
      c(
        "Sparse matrices need the Python package scipy.",
        i = 'In a new session: `reticulate::py_require("scipy")` before Keras loads.'
      ),
      "state",
      call
    )
  }
  value <- methods::as(methods::as(methods::as(value, "dMatrix"), "generalMatrix"), "CsparseMatrix")
  bridge$sparse_matrix(
    array_to_core(value@x),
    array_to_core(value@i),
    array_to_core(value@p),
    as.list(dim(value))
  )
}

check_missing <- function(value, label, call) {
  if (anyNA(value)) {
    missing <- sum(is.na(value))
    abort_kerasfit(
      c(
        sprintf("`%s` has %d missing %s.", label, missing, if (missing == 1) "value" else "values"),
        i = "Leave out or impute what is missing."
      ),
      "data",
      call,
      argument = argument_of(label)
    )
  }
}

abort_unsupported <- function(value, label, hint, call) {
  class <- if (is.atomic(value) && !is.object(value)) typeof(value) else class(value)[[1]]
  abort_kerasfit(
    c(
      sprintf("`%s` is an object of class %s, which cannot be trained on as it is.", label, class),
      i = hint
    ),
    "data",
    call,
    argument = argument_of(label)
  )
}

argument_of <- function(label) sub("^(\\w+).*$", "\\1", label)

#' A list, or if it has names a dict, whose names are not in R's native encoding as reticulate's are
#' @noRd
list_to_core <- function(value) {
  if (is.null(names(value))) {
    return(reticulate::r_to_py(value))
  }
  bridge$named(reticulate::r_to_py(as.list(names(value))), reticulate::r_to_py(unname(value)))
}

#' A list whose names have letters beyond ASCII as a dict with these; any other value as it is
#' @noRd
names_to_core <- function(value) {
  if (!is.list(value) || is.object(value)) {
    return(value)
  }
  value <- lapply(value, names_to_core)
  if (!any(grepl("[^ -~]", names(value), useBytes = TRUE))) {
    return(value)
  }
  list_to_core(lapply(value, reticulate::r_to_py, convert = TRUE))
}
