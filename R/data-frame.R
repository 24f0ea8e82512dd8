#' Convert a data frame to a pandas data frame, whose columns share R's memory
#' @noRd
data_frame_to_core <- function(value, label, call) {
  columns <- stats::setNames(as.list(value), names(value))
  matrices <- list()
  if (any(vapply(columns, function(column) length(dim(column)) > 0, NA))) {
    apart <- Map(split_matrix_column, columns, names(columns), label, list(call))
    matrices <- lapply(apart[lengths(apart) > 1], function(parts) as.list(names(parts)))
    columns <- do.call(c, unname(apart))
  }
  names <- names(columns)
  if (anyDuplicated(names)) {
    twice <- names[anyDuplicated(names)]
    abort_argument(
      argument_of(label),
      sprintf("`%s` has two columns named `%s`.", label, twice),
      call
    )
  }
  check_missing_in_columns(value, label, call)
  converted <- Map(
    function(column, name) column_to_core(column, paste0(label, "$", name), call),
    unname(columns),
    names
  )
  bridge$data_frame(
    reticulate::r_to_py(as.list(names)),
    reticulate::r_to_py(unname(converted)),
    nrow(value),
    list_to_core(matrices)
  )
}

column_to_core <- function(column, label, call) {
  if (inherits(column, "AsIs")) {
    column <- strip_class(column)
  }
  if (is.list(column) && !is.object(column)) {
    hint <- paste(
      "To convert sequences to a matrix, use",
      "`keras$utils$pad_sequences(lapply(%s, as.list), dtype = \"float32\")`."
    )
    abort_unsupported(column, label, sprintf(hint, label), call)
  }
  data_to_core(column, label, call)
}

#' Split a column that is a matrix into a list of columns, named as by `as.matrix()`
#' @noRd
split_matrix_column <- function(column, name, label, call) {
  if (is.null(dim(column))) {
    return(stats::setNames(list(column), name))
  }
  if (length(dim(column)) > 2 || is.data.frame(column)) {
    abort_unsupported(
      column,
      paste0(label, "$", name),
      "Use a separate column for each of its parts.",
      call
    )
  }
  if (length(dim(column)) == 1) {
    return(stats::setNames(list(as.vector(column)), name))
  }
  parts <- lapply(seq_len(ncol(column)), function(i) column[, i])
  if (ncol(column) == 1) {
    # a matrix of one column, such as scale() returns
    return(stats::setNames(parts, name))
  }
  stats::setNames(parts, paste(name, colnames(column) %||% seq_len(ncol(column)), sep = "."))
}

#' Check the columns that are not doubles for missing values, which Python cannot represent; the
#' core checks the doubles
#' @noRd
check_missing_in_columns <- function(frame, label, call) {
  columns <- Filter(is.atomic, as.list(frame))
  if (!any(vapply(columns, function(column) !is.double(column) && anyNA(column), NA))) {
    return(invisible())
  }
  if (isTRUE(getOption("kerasfit.allow_missing"))) {
    columns <- Filter(Negate(is.double), columns)
  }
  missing <- vapply(columns, function(column) sum(is.na(column)), 0L)
  missing <- missing[missing > 0]
  if (length(missing) == 1) {
    check_missing(columns[[names(missing)]], paste0(label, "$", names(missing)), call)
  }
  abort_kerasfit(
    c(
      sprintf("`%s` has missing values in %s.", label, format_column_counts(missing)),
      i = "Remove or impute missing values."
    ),
    "data",
    call,
    argument = argument_of(label)
  )
}

#' Format columns with a count for each: "the columns `a` (2) and `b` (1)"
#' @noRd
format_column_counts <- function(counts) {
  words <- sprintf("`%s` (%d)", names(counts), counts)
  last <- length(words)
  paste("the columns", paste(paste(words[-last], collapse = ", "), "and", words[last]))
}
