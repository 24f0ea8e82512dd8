# Values of the core, or of Keras, as R's.

#' A Python value as R's, with all its strings marked as UTF-8
#' @noRd
from_core <- function(value) mark_utf8(reticulate::py_to_r(value))

#' Mark strings that come from Python as UTF-8, which reticulate does not say of names in other locales
#' @param value A vector, or a list of such; what else there is stays as it is.
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
