#' Summarise a Keras model
#'
#' Prints a table of the model's layers with their output shapes and numbers of parameters. If the
#' package keras3 is loaded, its method is used instead, which has the same arguments.
#'
#' @param object A Keras model.
#' @param line_length Width of the table in characters.
#' @param positions Relative or absolute positions of the ends of the columns, as in Keras, or NULL.
#' @param expand_nested Whether to show the layers of nested models.
#' @param show_trainable Whether to show which layers are trainable. `NA`: only if some weights are
#'   not.
#' @param ... Further arguments of the model's `summary()` in Python.
#' @param layer_range Names, or patterns of names, of the first and the last layer to show, or NULL.
#' @param compact Whether to remove empty lines.
#' @return The printed text, invisibly.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$Input(list(4L)), keras$layers$Dense(3L)))
#' summary(model)
#' @export
summary.keras.src.trainers.trainer.Trainer <- function(
  object,
  line_length = min(getOption("width"), 180),
  positions = NULL,
  expand_nested = FALSE,
  show_trainable = NA,
  ...,
  layer_range = NULL,
  compact = TRUE
) {
  call <- user_call("summary")
  check_model(object, call)
  if (is.na(show_trainable)) {
    show_trainable <- NULL
  }
  text <- call_core(
    call,
    bridge$summary,
    object,
    line_length = as.integer(line_length),
    positions = positions,
    expand_nested = expand_nested,
    show_trainable = show_trainable,
    layer_range = as.list(layer_range),
    !!!collect_dots(...),
    convert = reticulate::py_to_r
  )
  if (compact) {
    text <- gsub("\n\\s*\n", "\n", text)
  }
  writeLines(text)
  invisible(text)
}
