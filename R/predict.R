#' Predict with a Keras model
#'
#' @details
#' With JAX, a model of Keras's own layers, each of which computes a sample's outputs from that sample alone, is given
#' some rows more than there are, so that few programs do for all numbers of rows; you get the outputs for yours. Other
#' models, such as one with batch normalization in training mode or a `predict_step()` of its own, see each batch as it
#' is. JAX compiles a program for each size of those, and few programs are kept.
#'
#' @inheritParams fit.keras.src.trainers.trainer.Trainer
#' @param object A Keras model; it need not be compiled.
#' @param x Inputs, as for [fit()][fit.keras.src.trainers.trainer.Trainer].
#' @param ... Not used.
#' @param steps Steps to predict; if `NULL`, one pass over the data.
#' @return An array with the samples along the first dimension: for a classifier, a matrix with a row for each sample
#'   and a column for each class, in the order of the levels. A list of arrays for several outputs.
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' model |> fit(x, iris$Species, epochs = 5, verbose = 0)
#' probabilities <- model |> predict(x)
#' table(levels(iris$Species)[max.col(probabilities)], iris$Species)
#' @export
predict.keras.src.trainers.trainer.Trainer <- function(
  object,
  x,
  ...,
  batch_size = NULL,
  steps = NULL,
  callbacks = NULL,
  verbose = getOption("keras.verbose", default = "auto")
) {
  call <- user_call("predict")
  check_model(object, call)
  end_interrupted_loop()
  force(callbacks)
  on.exit(end_callbacks(callbacks))
  check_dots(..., call = call, known = FALSE)
  if (missing(x)) {
    x <- NULL
  }
  list(x, callbacks) # the user's code, which may be interrupted
  call_core(
    call,
    core$predict,
    object,
    data_to_core(x, "x", call),
    batch_size = scalar_to_core(batch_size, "batch_size", call),
    steps = scalar_to_core(steps, "steps", call),
    callbacks = callbacks_to_core(callbacks, call),
    verbose = verbose_to_core(verbose, call),
    plan = plan_to_core(call),
    kernels = kernels_to_core(call),
    allow_missing = allow_missing_to_core(call),
    writer = console_writer(),
    convert = function(outputs) from_core(bridge$output_values(outputs))
  )
}
