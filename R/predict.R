#' Predict with a Keras model
#'
#' @param object A Keras model, which need not be compiled.
#' @param x Inputs, as for [fit()][fit.keras.src.trainers.trainer.Trainer].
#' @param ... Must be empty: arguments after `x` must be named.
#' @param batch_size Number of samples in each step, for arrays only. If `NULL`: the batch size in
#'   the shape of the model's input, if it has one (of a Sequential model, only if a layer is
#'   stateful); otherwise the size that gives `steps` steps; otherwise 32.
#' @param steps Number of steps to predict; if `NULL`, one pass over the data.
#' @param callbacks A callback or a list of callbacks, as for
#'   [fit()][fit.keras.src.trainers.trainer.Trainer]. Only the hooks for prediction are called:
#'   `on_predict_begin`, `on_predict_batch_end` and so on.
#' @param verbose `0` or `2`: silent. `1`: a progress bar. `"auto"`: 2 in knitr and on a distributed
#'   worker, otherwise 1.
#' @return An array with the samples along the first dimension. For a classifier, a matrix with a
#'   row for each sample and a column for each class, in the order of the levels. For several
#'   outputs, a list of arrays.
#'
#' @details JAX compiles a program for each batch size. With JAX, kerasfit therefore pads batches
#'   with extra rows if all layers of the model are Keras's own and compute the output of a sample
#'   from that sample alone; you get the outputs of your rows only. Other models, for example with
#'   batch normalization in training mode or their own `predict_step()`, get each batch unchanged.
#'   kerasfit keeps only a few compiled programs for these.
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
  list(x, callbacks) # evaluates the user's code while interrupts are allowed
  call_core(
    call,
    bridge$predict,
    object,
    data_to_core(x, "x", call),
    batch_size = scalar_to_core(batch_size, "batch_size", call),
    steps = scalar_to_core(steps, "steps", call),
    callbacks = callbacks_to_core(callbacks, call),
    verbose = verbose_to_core(verbose, call),
    !!!execution_arguments(call),
    convert = from_core
  )
}
