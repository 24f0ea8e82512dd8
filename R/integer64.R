#' Convert 64-bit integers, as of the package bit64, to doubles, also inside lists
#'
#' R stores them as doubles with another meaning. Integers beyond 2^53 are rounded.
#' @noRd
plain_numbers <- function(value) {
  if (inherits(value, "integer64")) {
    doubles <- doubles_of_bits(value)
    attributes(doubles) <- attributes(value)[intersect(
      names(attributes(value)),
      c("names", "dim", "dimnames")
    )]
    doubles
  } else if (is.list(value) && !is.object(value)) {
    lapply(value, plain_numbers)
  } else {
    value
  }
}

#' @rawNamespace S3method(reticulate::r_to_py, integer64)
r_to_py.integer64 <- function(x, convert = FALSE) reticulate::r_to_py(plain_numbers(x), convert)

doubles_of_bits <- function(value) {
  bits <- writeBin(as.double(unclass(value)), raw(), endian = "little")
  halves <- matrix(
    as.double(readBin(bits, "integer", 2 * length(value), endian = "little")),
    nrow = 2
  )
  is_missing <- is.na(halves[2, ]) & !is.na(halves[1, ]) & halves[1, ] == 0
  halves[is.na(halves)] <- -2^31 # its bits are those of NA_integer_
  low <- ifelse(halves[1, ] < 0, halves[1, ] + 2^32, halves[1, ])
  ifelse(is_missing, NA, halves[2, ] * 2^32 + low)
}
