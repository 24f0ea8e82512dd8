# Conversion of R data for the core. Only what depends on R is decided here; the core decides what
# the values mean.

#' Convert data for the core
#'
#' @param label The name of the value in error messages: `x`, `x$a`, `validation_data[[2]]`.
#' @noRd
data_to_core <- function(value, label, call) {
  if (is.null(value)) {
    value
  } else if (is_parquet_path(value, label)) {
    reticulate::r_to_py(enc2utf8(path.expand(value)))
  } else if (inherits(value, "Dataset") && inherits(value, "ArrowObject")) {
    call_core(call, bridge$open_dataset, as.list(value$files))
  } else if (inherits(value, "arrow_dplyr_query")) {
    abort_unsupported(
      value,
      label,
      "Call `arrow::write_dataset()` and give the folder, or `dplyr::collect()` if it is small.",
      call
    )
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
      "Convert it to numbers on a scale suitable for training, for example with `as.numeric()`.",
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
        "Convert it to a vector, matrix or array, for example with `as.matrix()` or",
        "`as.numeric()`, or to a list of these."
      ),
      call
    )
  }
}

#' Whether inputs are the path of a Parquet file, or of a folder of them
#' @noRd
is_parquet_path <- function(value, label) {
  is.character(value) &&
    length(value) == 1 &&
    !is.na(value) &&
    label %in% c("x", "validation_data", "validation_data[[1]]") &&
    (file.exists(value) || grepl("[.](parquet|pq)$", value)) &&
    from_core(bridge$is_arrow(enc2utf8(path.expand(value))))
}

#' Remove the class of an object that is a vector, matrix or array otherwise: a table, a time
#' series, `I()`, a matrix of the package Matrix
#' @return NULL for other objects.
#' @noRd
strip_class <- function(value) {
  if (inherits(value, "AsIs")) {
    structure(value, class = setdiff(class(value), "AsIs"))
  } else if (inherits(value, "Matrix")) {
    as.matrix(value)
  } else if (inherits(value, "sparseVector")) {
    as.vector(value)
  } else if (is.atomic(value) && !isS4(value) && !inherits(value, "dist")) {
    # the numbers of an S4 object may be something other than its values
    dim <- dim(value)
    attributes(value) <- NULL
    if (is.null(dim)) value else array(value, dim)
  }
}

#' Convert a vector, matrix or array without a class
#' @noRd
atomic_to_core <- function(value, label, call) {
  if (is.complex(value)) {
    abort_unsupported(value, label, "Convert it to numbers, for example with `Mod()`.", call)
  }
  if (is.null(dim(value)) && length(value) > .Machine$integer.max) {
    abort_kerasfit(
      c(
        sprintf(
          "`%s` has %.0f values, but a vector can have at most %d.",
          label,
          length(value),
          .Machine$integer.max
        ),
        i = "Use a generator, a dataset or a numpy array."
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

#' Convert an atomic vector or array to a numpy array, which is a view of R's memory and not a copy
#' @noRd
array_to_core <- function(value) {
  if (is.null(dim(value))) {
    dim(value) <- length(value)
  }
  reticulate::r_to_py(value)
}

#' Convert a sparse matrix of the package Matrix to one of scipy
#' @noRd
sparse_to_core <- function(value, call) {
  if (!reticulate::py_module_available("scipy")) {
    abort_kerasfit(
      c(
        "Sparse matrices need the Python package scipy.",
        i = 'In a new session, call `reticulate::py_require("scipy")` before Keras loads.'
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
        cli::pluralize("`{label}` has {missing} missing value{?s}."),
        i = "Remove or impute missing values."
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
      sprintf("`%s` is an object of class %s, which cannot be used as data.", label, class),
      i = hint
    ),
    "data",
    call,
    argument = argument_of(label)
  )
}

argument_of <- function(label) sub("^(\\w+).*$", "\\1", label)

#' Convert a list, or a named list to a dict
#'
#' reticulate encodes names in the native encoding; the core needs UTF-8.
#' @noRd
list_to_core <- function(value) {
  if (is.null(names(value))) {
    return(reticulate::r_to_py(value))
  }
  bridge$named(reticulate::r_to_py(as.list(names(value))), reticulate::r_to_py(unname(value)))
}

#' Convert a list to a dict if its names are not ASCII; return any other value unchanged
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
