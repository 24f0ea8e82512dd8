#' Train a Keras model
#'
#' Trains a compiled model for a number of epochs and returns the history of the training. The model
#' itself is changed in place.
#'
#' @section Accepted data:
#' `x` and `y` may be vectors, matrices, arrays, factors, data frames, sparse matrices, tensors, or
#' lists of these for models with several inputs or outputs. The samples are along the first
#' dimension. A named list goes to the inputs or outputs of these names. If the outputs of a model
#' were given as a named list, `list(price = keras$layers$Dense(1L)(x))`, the names are those of the
#' list; otherwise they are the names of the layers.
#'
#' @section Other kinds of data:
#' An array of numpy that is mapped from a file is read batch by batch. Arrays may have more than
#' 2^31 elements, and up to that many rows. 64-bit integers of the package bit64 are accepted as
#' numbers here and in all other arguments. A table of the package arrow is converted by
#' `as.data.frame()`; for files see below. Ragged tensors are accepted in the batches of datasets
#' and generators with the TensorFlow backend.
#'
#' Your data are never changed. Layers, losses and metrics that modify their arguments modify a copy
#' of the batch, which no other step sees. This holds for `x`, `y`, weights, validation data and the
#' arrays that generators and datasets yield. It does not hold for models with their own `fit()` or
#' `evaluate()` method, which get the data themselves.
#'
#' @section Classes and levels:
#' A factor as `y` is used as integer codes counted from 0: the first level is class 0. With the
#' loss `"categorical_crossentropy"` it is one-hot encoded, with one column for each level. As an
#' input, a factor is converted to its codes where the input has an integer type or feeds an
#' embedding, and to its labels where the input has the type "string"; for any other input it is an
#' error.
#'
#' The names in `class_weight` are levels of `y`, or class codes:
#' * If all names are levels, classes that are not named have weight 1. For a logical `y` the levels
#'   are `TRUE` and `FALSE`.
#' * If the names are codes, `list("0" = 1, "1" = 5)`, every class that occurs must be named, so
#'   that none is forgotten by mistake.
#' * For a model with several outputs, the names may be outputs: `list(species = list(virginica =
#'   5), size = c("0" = 1, "1" = 2))`. Outputs that are not named have weight 1.
#'
#' With `sample_weight` as well, the two weights are multiplied. The levels of a generator are those
#' of its first batch.
#'
#' Levels are matched by name. A model remembers the levels of the factors, both targets and inputs,
#' and the columns of the data frames that it was first trained on. A later factor with fewer
#' levels, or with the levels in another order, is encoded with the training levels, whether it is
#' given to `fit()`, [evaluate()] or `predict()` or as validation data. A value at any other level
#' is an error. To train with other levels, create a new model.
#'
#' `model$save("model.keras")` stores the levels and columns in the file, and
#' `keras$models$load_model()` restores them in a session with kerasfit. Without kerasfit the file
#' loads too. Files of weights only, the formats ".h5" and SavedModel, and copies made by
#' `keras$models$clone_model()` do not include them.
#'
#' @section Data frames:
#' A data frame whose columns are all numeric, integer or logical is used as a matrix, if the model
#' has one input. If the model has several inputs, each column goes to the input of the same name:
#' as text to an input of type "string", and the codes of a factor, counted from 0, to an input of
#' an integer type. A model with one input of text accepts a data frame of text or factors.
#'
#' Factors and text are not converted automatically for inputs that take numbers; they are an error.
#' Convert them with `model.matrix()` or a preprocessing layer of Keras.
#'
#' A matrix inside a data frame goes to the input of its name, or else becomes one column for each
#' of its columns. Several data frames, one for each input, are a list. As `y`, a data frame has one
#' column for each target, or one for each output of the model, matched by name.
#'
#' @section Parquet files and Arrow datasets:
#' `x` may be the path of a Parquet file, the path of a folder of them, or an
#' `arrow::open_dataset()`. `y` and `sample_weight` are then names of columns, and all other columns
#' are inputs. The files may be larger than memory: some row groups are read at a time, while the
#' model trains on those read before. They are read by the Python package pyarrow, so declare it
#' with `reticulate::py_require("pyarrow")` before Keras loads.
#'
#' With `shuffle`, the row groups get a new random order in each epoch, and so do the rows in each
#' window of row groups that are in memory together (64 MB of numbers, or one row group if it is
#' larger). Memory for the data stays below about six windows. If your files are sorted by what the
#' model is to learn, sort them in another way, or write small row groups.
#'
#' Columns are used as those of a data frame. A factor (a dictionary in Arrow) as `y` has the levels
#' of all files. `validation_split` takes the last rows in the order of the files; as
#' `validation_data` give another path or dataset with the same columns. `predict()` uses the
#' columns that the model was trained on. A backup resumes within an epoch without reading what came
#' before.
#'
#' @section Generators and datasets:
#' A dataset, Python generator or R function yields one batch at a time. A `tuple()` of length 1, 2
#' or 3 is inputs, targets and sample weights, in this order; an unnamed R list means the same.
#' Anything else, including a named list, is inputs only, even if one of its names is "y". To yield
#' named inputs with targets, use `tuple(list(a = xa, b = xb), y)`.
#'
#' An R function is called without arguments for each batch. It returns `NULL` at the end of a pass
#' over the data and is called again for the next epoch. If the code of the function cannot return
#' `NULL` (it has no `NULL`, no empty `return()`, and does not end in a loop or an `if` without
#' `else`), kerasfit assumes it never ends, so `steps_per_epoch` is required. If the `NULL` comes
#' from another function that it calls, use `steps_per_epoch = -1`.
#'
#' A `keras$utils$PyDataset` uses threads for its `workers`, not processes. One written in R has no
#' workers, since R runs on one thread.
#'
#' @section Interrupts:
#' Ctrl-C, or Esc in RStudio, ends training after the current step; inside a generator or callback
#' written in R, it ends it immediately. Callbacks are called for the end of training, and the model
#' keeps its weights. A second Ctrl-C interrupts immediately. `options(kerasfit.interrupt = )` sets
#' what `fit()` does then:
#'
#' * `"auto"`, the default: at the top level, `fit()` returns the history so far, with
#'   `params$interrupted` set. Anywhere else it raises R's interrupt.
#' * `"return"`: `fit()` always returns the history.
#' * `"error"`: `fit()` always raises the interrupt.
#'
#' The top level is the prompt, a statement of a script run by `Rscript` or [source()], a notebook
#' cell or a knitr chunk, including calls in pipes and functions such as `suppressWarnings()`.
#' Inside your own function, in a loop or in `lapply()`, the interrupt ends these as well, so that
#' no half-trained model ends up in a result. The interrupt is a condition of class
#' `kerasfit_interrupt` with the field `history`. R does not show a loop at the top level to the
#' functions it calls, so such a loop ends at its next call of `fit()`, [evaluate()] or `predict()`.
#'
#' With [callback_backup_and_restore()], a later call continues an interrupted run. If `fit()` runs
#' inside a callback of another `fit()`, the interrupt ends both.
#'
#' @section Errors:
#' A mistake in an argument is a condition of class `kerasfit_error_argument` or
#' `kerasfit_error_data`, both with the class `kerasfit_error` and the field `argument`. It is
#' raised before the first step where possible; the batches of a generator are checked one by one.
#' Data that do not fit the model's inputs and outputs are such an error as well. So are missing
#' values (`NA`, `NaN`) and infinite values; `options(kerasfit.allow_missing = TRUE)` accepts `NaN`
#' and infinite numbers, for models that mask them.
#'
#' An error in one of your functions (a generator, a callback, a loss or a metric) is a
#' `kerasfit_error_user`. Its message says which function failed, and your error is in the field
#' `parent`, which has the R traceback in its field `trace`. Errors raised by Keras itself are a
#' `kerasfit_error_python`. Both have the fields `epoch` and `batch`, as far as these are known, and
#' `history`, a [keras_training_history] of the epochs before the error. The Python traceback is in
#' the field `python_traceback`.
#'
#' A handler around `fit()`, as in `tryCatch(fit(...), warning = identity)`, also catches conditions
#' that your functions signal, and then ends `fit()`; so does a restart. `callCC()`, the debugger's
#' Q, and a `return()` or `break` of an outer function cannot end `fit()` from within your function:
#' they cause a `kerasfit_error_user`. So does endless recursion in your function.
#'
#' Warnings of kerasfit have the class `kerasfit_warning`.
#'
#' A time limit set with `setTimeLimit()` or `setSessionTimeLimit()` ends training after the current
#' step, with an error of class `kerasfit_error_time_limit` and the field `history`. The model keeps
#' its weights. R may print its own error as well.
#'
#' @section Reproducibility:
#' [set_random_seed()] makes initial weights, the order of the samples and dropout repeatable. How
#' steps are compiled depends on the model, the device and the number of steps, never on time, so
#' training with a seed repeats exactly. With TensorFlow, dropout compiled by XLA on CPUs draws
#' different random numbers from Keras's.
#'
#' @section Speed:
#' kerasfit runs many steps in one compiled call, unless a callback of yours needs each batch.
#' `vignette("speed")` describes how kerasfit chooses the way to run steps and the options that
#' change it, `options(kerasfit.plan = )` and `options(kerasfit.kernels = )`.
#'
#' @section Nested calls and other processes:
#' A callback or generator may call [evaluate()] and
#' [predict()][predict.keras.src.trainers.trainer.Trainer] for the model that is being trained,
#' without any effect on its training, and `fit()` for another model. `fit()` for the same model is
#' a `kerasfit_error_state`.
#'
#' Once Keras has loaded, it cannot be used in a forked copy of the process, such as those of
#' `parallel::mclapply()`, where the threads of the backend do not exist. Such a call is a
#' `kerasfit_error_state`. `parallel::makePSOCKcluster()`, the package callr and
#' `future::plan("multisession")` start processes that load Keras themselves.
#'
#' @section Documents:
#' In a knitr chunk with `cache = TRUE`, `fit()` warns once for each document: knitr restores R
#' values from the cache, but not the weights of the model, which live in Python. Set
#' `cache = FALSE` for such chunks, or save the model in the chunk and load it in another chunk that
#' is not cached.
#'
#' @section Details:
#' The training loop is kerasfit's own. It gives the same results as Keras's: the same steps,
#' metrics and callbacks in the same order. A model class with its own `fit` (or `evaluate`,
#' `make_train_function`, `make_test_function`) in Python is trained with that.
#'
#' @param object A compiled Keras model.
#' @param x Inputs: a vector, matrix, array (also with a class, such as a time series, a table or
#'   `I()`), data frame, sparse or dense matrix of the package Matrix, or tensor; a list of these
#'   for several inputs, or a named list for named inputs. Or a source of batches: a
#'   `tf.data.Dataset`, a `keras$utils$PyDataset`, a PyTorch `DataLoader`, a Python generator, or an
#'   R function. See the sections below.
#' @param y Targets: like `x`, or a factor; a list of these for several outputs. Must be omitted for
#'   datasets and generators, whose batches include the targets.
#' @param ... All arguments after `y` must be named. Further arguments are passed to the `fit`
#'   method of a model class that has its own; for other models they are an error.
#' @param batch_size Number of samples in each step, for arrays only. If `NULL`, it is the batch
#'   size in the shape of the model's input, for example `batch_shape = c(8, 5, 2)`; otherwise, as
#'   in Keras, the size that gives `steps_per_epoch` steps; otherwise 32. A size other than the one
#'   in the input's shape is an error. For a Sequential model, the shape of the input counts only if
#'   a layer is stateful.
#' @param epochs The last epoch to train. With `initial_epoch = 6`, `epochs = 10` trains five
#'   epochs: 6 to 10.
#' @param callbacks A [callback][callbacks] or a list of callbacks, for example
#'   `callback_early_stopping(patience = 3)`; also Python callbacks of Keras and callbacks of a
#'   class made by [Callback()]. A list of functions named after hooks,
#'   `list(on_epoch_end = function(epoch, logs) ...)`, is also a callback, and such functions may
#'   stand beside callbacks in a list. Epochs and batches count from 1 in these functions.
#' @param validation_split The fraction of the samples, at least 0 and below 1, to use for
#'   validation instead of training. These are the last samples, taken before shuffling. For arrays
#'   only.
#' @param validation_data Data for validation at the end of an epoch: `list(x_val, y_val)` or
#'   `list(x_val, y_val, sample_weight)`, also as a `tuple()`; only `x_val` for a model without
#'   targets; a dataset; or a generator. Overrides `validation_split`.
#' @param shuffle Whether to shuffle the samples of arrays in each epoch.
#' @param class_weight A named list or vector with a weight for each class, which applies to the
#'   loss during training. See the section "Classes and levels".
#' @param sample_weight Weights of the samples for the loss during training, for arrays only: a
#'   vector with one weight for each sample, or a matrix (samples, timesteps) for temporal data if
#'   the loss has a value for each timestep. Other dimensions are an error. Weights must be 0 or
#'   more, unless the loss is a function of yours. For several outputs, a list; outputs that a named
#'   list omits have weight 1. Metrics are weighted if they were passed to
#'   [compile()][compile.keras.src.trainers.trainer.Trainer] as `weighted_metrics`.
#' @param initial_epoch The first epoch to train, to continue an earlier run.
#' @param steps_per_epoch Number of steps in each epoch. If `NULL`, an epoch is one pass over the
#'   data. If given, each epoch continues where the previous one stopped. Required for data that
#'   never end. -1: until the data end.
#' @param validation_steps Number of steps in each validation; if `NULL`, one pass over the
#'   validation data. Each validation starts at the beginning of arrays and datasets.
#' @param validation_batch_size Number of samples in each validation step; defaults to `batch_size`.
#'   For arrays only.
#' @param validation_freq How often to validate: every `validation_freq` epochs, or after the epochs
#'   given in a vector of length two or more, or in a list, such as `list(5)`.
#' @param verbose 0: silent. 1: a progress bar and a line for each epoch. 2: a line for each epoch.
#'   "auto": 2 in knitr and on a distributed worker, otherwise 1.
#' @param view_metrics Whether to show the metrics during training, with progress and a stop button.
#'   `TRUE`: in RStudio's viewer, or else in the browser, on a page that this R session serves to
#'   this computer only. "auto": in RStudio's viewer, if there are metrics besides the loss, more
#'   than one epoch, and `verbose` is not 0. A folder: nothing opens; progress is written there, for
#'   [render_training()] in another process. kerasfit writes to a subfolder `kerasfit-view` that
#'   only you can read, and to nothing else; a folder that other users can write to is an error.
#'   Requires the packages htmlwidgets and plotly.
#'
#' @return A [keras_training_history], invisibly: the loss and the metrics of each epoch.
#'
#' @examplesIf kerasfit:::has_keras()
#' x <- as.matrix(iris[1:4])
#' model <- keras$Sequential(list(
#'   keras$layers$Dense(16L, activation = "relu"),
#'   keras$layers$Dense(3L, activation = "softmax")
#' ))
#' model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#'
#' # a matrix and a factor; the last fifth of the rows, here in random order, for validation
#' shuffled <- sample(nrow(iris))
#' history <- model |> fit(
#'   x[shuffled, ], iris$Species[shuffled],
#'   epochs = 5, validation_split = 0.2, class_weight = c(virginica = 2)
#' )
#' plot(history)
#'
#' # the same from a data frame
#' model |> fit(iris[1:4], iris$Species, epochs = 2, verbose = 0)
#'
#' # continue for two more epochs, with a generator: an R function that returns the next batch
#' batch <- function() {
#'   rows <- sample(nrow(x), 32)
#'   list(x[rows, ], iris$Species[rows])
#' }
#' model |> fit(batch, steps_per_epoch = 10, initial_epoch = 6, epochs = 7)
#'
#' # an error in your function: the message says which function failed, and where
#' batches <- 0
#' failing <- function() {
#'   batches <<- batches + 1
#'   if (batches == 15) stop("the file is gone")
#'   batch()
#' }
#' error <- tryCatch(
#'   model |> fit(failing, steps_per_epoch = 10, epochs = 5, verbose = 0),
#'   kerasfit_error = identity
#' )
#' error
#' error$history
#'
#' # a PyDataset, a Python class written in R; Python counts batches from 0
#' Batches <- reticulate::PyClass("Batches", inherit = keras$utils$PyDataset, defs = list(
#'   `__len__` = function(self) 5L,
#'   `__getitem__` = function(self, number) {
#'     rows <- shuffled[number * 30 + 1:30]
#'     tuple(x[rows, ], array(as.integer(iris$Species[rows]) - 1L))
#'   }
#' ))
#' model |> fit(Batches(), epochs = 2, verbose = 2)
#'
#' # a TensorFlow dataset
#' if (reticulate::py_module_available("tensorflow")) {
#'   tf <- reticulate::import("tensorflow")
#'   codes <- array(as.integer(iris$Species) - 1L)
#'   model |> fit(tf$data$Dataset$from_tensor_slices(tuple(x, codes))$batch(25L), verbose = 2)
#' }
#'
#' # a sparse matrix, of which only batches are converted to dense arrays
#' if (rlang::is_installed("Matrix") && reticulate::py_module_available("scipy")) {
#'   model |> fit(Matrix::Matrix(round(x), sparse = TRUE), iris$Species, verbose = 2)
#' }
#'
#' # named inputs and outputs, with class weights for one of them
#' petal <- keras$Input(list(2L), name = "petal")
#' sepal <- keras$Input(list(2L), name = "sepal")
#' both <- keras$layers$concatenate(list(petal, sepal))
#' two <- keras$Model(list(petal = petal, sepal = sepal), list(
#'   species = keras$layers$Dense(3L, activation = "softmax", name = "species")(both),
#'   length = keras$layers$Dense(1L, name = "length")(both)
#' ))
#' two |> compile("adam", list(species = "sparse_categorical_crossentropy", length = "mse"))
#' two |> fit(
#'   list(petal = x[, 3:4], sepal = x[, 1:2]), list(species = iris$Species, length = x[, 1]),
#'   class_weight = list(species = list(virginica = 2)), verbose = 2
#' )
#' @aliases fit
#' @importFrom generics fit
#' @rawNamespace export(fit)
#' @seealso [evaluate()], [predict()][predict.keras.src.trainers.trainer.Trainer],
#'   [keras_training_history]
#' @export
fit.keras.src.trainers.trainer.Trainer <- function(
  object,
  x = NULL,
  y = NULL,
  ...,
  batch_size = NULL,
  epochs = 1L,
  callbacks = NULL,
  validation_split = 0,
  validation_data = NULL,
  shuffle = TRUE,
  class_weight = NULL,
  sample_weight = NULL,
  initial_epoch = 1L,
  steps_per_epoch = NULL,
  validation_steps = NULL,
  validation_batch_size = NULL,
  validation_freq = 1L,
  verbose = getOption("keras.verbose", default = "auto"),
  view_metrics = getOption("keras.view_metrics", default = "auto")
) {
  call <- user_call("fit")
  check_model(object, call)
  force(callbacks)
  on.exit(end_callbacks(callbacks))
  on_interrupt <- check_choice(
    getOption("kerasfit.interrupt", default = "auto"),
    c("auto", "return", "error"),
    "kerasfit.interrupt",
    call,
    option_label("kerasfit.interrupt")
  )
  end_interrupted_loop()
  extra <- check_dots(..., call = call)
  warn_of_cached_chunk(call)
  # evaluates the user's code while interrupts are allowed
  list(x, y, sample_weight, validation_data, callbacks, view_metrics)
  epochs <- plain_numbers(epochs)
  initial_epoch <- plain_numbers(initial_epoch)
  batch_size <- plain_numbers(batch_size)
  scalar <- function(value, argument) scalar_to_core(value, argument, call)
  view <- view_to_core(view_metrics, object, epochs, verbose, call)
  if (!is.null(view)) {
    on.exit(view$close(), add = TRUE)
  }
  late <- FALSE
  history <- call_core(
    call,
    core$fit,
    object,
    data_to_core(x, "x", call),
    data_to_core(y, "y", call),
    batch_size = scalar(batch_size, "batch_size"),
    epochs = scalar(epochs, "epochs"),
    callbacks = callbacks_to_core(
      with_tfruns(callbacks, object, epochs, initial_epoch, batch_size),
      call
    ),
    validation_split = scalar(validation_split, "validation_split"),
    validation_data = data_to_core(validation_data, "validation_data", call),
    shuffle = scalar(shuffle, "shuffle"),
    class_weight = class_weight_to_core(class_weight, call),
    sample_weight = data_to_core(sample_weight, "sample_weight", call),
    initial_epoch = scalar(initial_epoch, "initial_epoch"),
    steps_per_epoch = scalar(steps_per_epoch, "steps_per_epoch"),
    validation_steps = scalar(validation_steps, "validation_steps"),
    validation_batch_size = scalar(validation_batch_size, "validation_batch_size"),
    validation_freq = scalar(validation_freq, "validation_freq"),
    verbose = verbose_to_core(verbose, call),
    !!!execution_arguments(call),
    view = view,
    !!!extra,
    convert = function(history) {
      # an interrupt after the last step does not shorten the run, but may end the code around fit()
      late <<- reticulate::py_to_r(bridge$take_interrupt())
      as_training_history(history)
    }
  )
  if (history$params$interrupted || late) {
    report_interrupted(
      history,
      on_interrupt,
      history$params$interrupted,
      parent.frame(),
      sys.nframe()
    )
  }
  invisible(history)
}
