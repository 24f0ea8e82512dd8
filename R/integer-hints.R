#' Wrap a Python function of Keras so that errors about whole numbers explain how R writes them
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

#' A hint for errors of Keras that got doubles instead of integers, or NULL for other errors
#' @param text The error message of Keras.
#' @param arguments The arguments of the call.
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
      "Write whole numbers with an L: %s.",
      paste0("`", written, "`", collapse = ", ")
    )
  } else if (
    grepl("'float' object cannot be interpreted as an integer|invalid dimension '[0-9]+[.]0'", text)
  ) {
    paste(
      "Write whole numbers with an L where Keras expects integers, for example `16L`,",
      "including in the layers of the model."
    )
  }
}

#' Whether a value is one to eight doubles that are whole numbers, or a list of such values
#' @noRd
are_whole_doubles <- function(value) {
  if (is.list(value) && !is.object(value)) {
    return(length(value) > 0 && all(vapply(value, are_whole_doubles, NA)))
  }
  few <- is.double(value) && !is.object(value) && length(value) %in% 1:8
  few && all(is.finite(value) & value == round(value) & abs(value) < 2^31)
}
