# Conversion of values of the core or Keras to R.

#' Convert a Python value to R, with all strings marked as UTF-8
#' @noRd
from_core <- function(value) mark_utf8(reticulate::py_to_r(value))

#' Mark strings from Python as UTF-8, which reticulate does not do for names in other locales
#' @param value A vector, or a list of vectors. Other values are returned unchanged.
#' @noRd
mark_utf8 <- function(value) {
  if (is.object(value) || !is.vector(value)) {
    return(value)
  }
  if (is.list(value)) {
    value <- lapply(value, mark_utf8)
  }
  if (is.character(value)) {
    Encoding(value) <- "UTF-8"
  }
  if (!is.null(names(value))) {
    names <- names(value)
    Encoding(names) <- "UTF-8"
    names(value) <- names
  }
  value
}
