#' Summarise a Keras model
#'
#' Prints a table of the model's layers, their output shapes and numbers of parameters.
#'
#' @param object A Keras model.
#' @param ... Passed on to the model's `summary()` in Python: `line_length`, `expand_nested`, `show_trainable`.
#' @return The model, invisibly.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$Input(list(4L)), keras$layers$Dense(3L)))
#' summary(model)
#' @export
summary.keras.src.models.model.Model <- function(object, ...) {
  print_line <- function(text, ...) cat(text, "\n", sep = "")
  call <- user_call("summary")
  check_model(object, call)
  call_core(call, object$summary, print_fn = reticulate::r_to_py(print_line, convert = TRUE), ...)
  invisible(object)
}
