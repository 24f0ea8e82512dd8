#' @importFrom reticulate tuple
#' @export
reticulate::tuple
