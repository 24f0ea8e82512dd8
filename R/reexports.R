#' Python tuples
#'
#' [reticulate::tuple()], which makes a Python tuple of its arguments.
#' @param ... Values, or one list of values.
#' @param convert Whether elements are converted to R when they are read.
#' @return A Python tuple.
#' @examplesIf kerasfit:::has_keras()
#' tuple(1, "a")
#' @usage tuple(..., convert = FALSE)
#' @export
tuple <- NULL
