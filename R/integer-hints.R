#' A function or class of Keras whose errors about whole numbers say how R writes those
#' @noRd
with_integer_hint <- function(callable) {
  hinting <- function(...) {
    withCallingHandlers(callable(...), python.builtin.Exception = function(error) {
      text <- sub("\n*Run .?`?reticulate::py_last_error.*$", "", conditionMessage(error))
      hint <- hint_for_integers(text, list(...))
      if (!is.null(hint)) abort_kerasfit(c(text, i = hint), "python", call = NULL)
    })
  }
  attributes(hinting) <- attributes(callable)
  hinting
}

#' What to do if Keras wants integers where it has got R's doubles; NULL if its error is not about that
#' @param text What Keras says.
#' @param arguments What it was called with.
#' @noRd
hint_for_integers <- function(text, arguments = list()) {
  about_types <- grepl("integer|float|int32|int64|shape|[0-9][.]0\\b", text)
  whole <- vapply(arguments, are_whole_doubles, NA)
  if (about_types && any(whole)) {
    names <- rlang::names2(arguments)[whole]
    integers <- rapply(arguments[whole], as.integer, how = "replace")
    written <- vapply(integers, function(value) paste(deparse(value), collapse = ""), "")
    written <- paste0(ifelse(nzchar(names), paste(names, "= "), ""), written)
    sprintf(
      "Whole numbers are written with an L in R: %s.",
      paste0("`", written, "`", collapse = ", ")
    )
  } else if (
    grepl("'float' object cannot be interpreted as an integer|invalid dimension '[0-9]+[.]0'", text)
  ) {
    "Whole numbers that Keras wants as integers are written with an L in R, also where a layer was made: `16L`."
  }
}

#' Whether a value is a few doubles that are whole numbers, or a list of such
#' @noRd
are_whole_doubles <- function(value) {
  if (is.list(value) && !is.object(value)) {
    return(length(value) > 0 && all(vapply(value, are_whole_doubles, NA)))
  }
  few <- is.double(value) && !is.object(value) && length(value) %in% 1:8
  few && all(is.finite(value) & value == round(value) & abs(value) < 2^31)
}
