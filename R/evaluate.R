#' Evaluate a model
#'
#' A generic function. The method documented here computes the loss and metrics of a Keras model on
#' data.
#'
#' @param object A compiled Keras model.
#' @param ... For Keras models, it must be empty: arguments after `y` must be named.
#' @return A named list of numbers: `loss`, and each metric by its name. A metric with several
#'   values, such as an F1 score for each class, has the elements `name_1`, `name_2` and so on.
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' model |> evaluate(x, iris$Species)
#' @export
evaluate <- function(object, ...) UseMethod("evaluate")

#' @export
evaluate.default <- function(object, ...) {
  # dispatch from the namespace of generics; from here, R would find this method again
  do.call("evaluate", list(object, ...), quote = TRUE, envir = asNamespace("generics"))
}

#' @rdname evaluate
#' @rawNamespace S3method(generics::evaluate, keras.src.trainers.trainer.Trainer)
#' @param x Inputs, as for [fit()][fit.keras.src.trainers.trainer.Trainer].
#' @param y Targets, as for [fit()][fit.keras.src.trainers.trainer.Trainer].
#' @param batch_size Number of samples in each step, for arrays only. If `NULL`: the batch size in
#'   the shape of the model's input, if it has one (of a Sequential model, only if a layer is
#'   stateful); otherwise the size that gives `steps` steps; otherwise 32.
#' @param sample_weight Weights of the samples for the loss and the weighted metrics.
#' @param steps Number of steps to evaluate; if `NULL`, one pass over the data.
#' @param callbacks A callback or a list of callbacks, as for
#'   [fit()][fit.keras.src.trainers.trainer.Trainer]. Only the hooks for evaluation are called:
#'   `on_test_begin`, `on_test_batch_end` and so on.
#' @param verbose `0`: silent. `1`: a progress bar and a line with the results. `2`: only the line.
#'   `"auto"`: 2 in knitr and on a distributed worker, otherwise 1.
#' @export
evaluate.keras.src.trainers.trainer.Trainer <- function(
  object,
  x = NULL,
  y = NULL,
  ...,
  batch_size = NULL,
  sample_weight = NULL,
  steps = NULL,
  callbacks = NULL,
  verbose = getOption("keras.verbose", default = "auto")
) {
  call <- user_call("evaluate")
  check_model(object, call)
  end_interrupted_loop()
  force(callbacks)
  on.exit(end_callbacks(callbacks))
  check_dots(..., call = call, known = FALSE)
  list(x, y, sample_weight, callbacks) # evaluates the user's code while interrupts are allowed
  metrics <- call_core(
    call,
    core$evaluate,
    object,
    data_to_core(x, "x", call),
    data_to_core(y, "y", call),
    batch_size = scalar_to_core(batch_size, "batch_size", call),
    sample_weight = data_to_core(sample_weight, "sample_weight", call),
    steps = scalar_to_core(steps, "steps", call),
    callbacks = callbacks_to_core(callbacks, call),
    verbose = verbose_to_core(verbose, call),
    !!!execution_arguments(call),
    convert = from_core
  )
  write_evaluation(metrics)
  metrics
}
