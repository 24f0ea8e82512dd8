#' Train a Keras model
#'
#' Trains a compiled model for a number of epochs and returns the history of the training.
#'
#' @details
#' The training loop is kerasfit's own and gives the results of Keras's: the same steps, metrics and callbacks in
#' the same order. A model class that has a `fit` (or `evaluate`, `make_train_function`, `make_test_function`) of
#' its own in Python is trained by that.
#'
#' @section What iterators yield:
#' A dataset, Python generator or R function yields one batch at a time. A `tuple()` of length 1, 2 or 3 is taken
#' apart: inputs, then targets, then sample weights. An unnamed R list at the top means the same. Anything else is
#' all inputs: a named list stands for the named inputs of a model, even where a name is "y". Named inputs with
#' targets are `tuple(list(a = xa, b = xb), y)`.
#'
#' An R function takes no arguments and is called for each batch; it returns `NULL` at the end of a pass over the
#' data and is called again for the next epoch's. If there is no `NULL` in its code, kerasfit takes it to go on for
#' ever and wants to know `steps_per_epoch`; give `-1` if a function that it calls ends it.
#'
#' @section Your data are not changed:
#' No step writes into `x`, `y`, weights or validation data, nor into arrays that a generator or dataset yields, whatever
#' layers, losses and metrics do to their arguments: what they change is a copy of the batch, which no other step sees. A
#' model's own `fit()` or `evaluate()` gets the data as they are.
#'
#' @section Data frames:
#' A data frame whose columns are all numeric, integer or logical stands for the matrix of them. If the model has
#' several inputs, each column goes to the input of its name instead: to an input of type "string" as text, and the
#' codes of a factor, counted from 0, to an input of an integer type. A factor or text that no input takes is an
#' error: `model.matrix()` makes numbers of it, or a preprocessing layer of Keras. A matrix in a data frame goes to the
#' input of its name, or is a column for each of its own. Where the model's only input takes text, a data frame of text or
#' factors is that. Several data frames, one for each input, are a list. As `y`, a data frame has a column for each output
#' of the model by name, or for each target. The names of outputs that are a named list,
#' `list(price = keras$layers$Dense(1L)(x))`, are those of the list; else those of the layers.
#'
#' @section Classes by number and by name:
#' A factor as `y` stands for its codes counted from 0: the first level is class 0. If the loss is
#' `"categorical_crossentropy"`, it is one-hot, a column for each level. `class_weight` may name the
#' levels; those that it does not name weigh 1. It may name the codes instead, `list("0" = 1, "1" = 5)`, and then
#' must have each class that occurs, so that a class is not forgotten by mistake. If all names are levels, they
#' are taken as levels; for a logical `y` they are `TRUE` and `FALSE`. With `sample_weight` beside it, the two are
#' multiplied. For a model with several outputs it may name these,
#' `list(species = list(virginica = 5), size = c("0" = 1, "1" = 2))`: that is a sample weight for
#' each output, 1 for outputs that are not named. The levels of a generator are those of its first batch.
#'
#' Levels are matched by their names. A model keeps the levels of the factors that it was first trained on, as targets and as
#' inputs, and the columns of data frames. A factor that lacks some of these levels, or has them in another order, is coded by
#' them wherever it is given later: to go on with `fit()`, to validate, to evaluate or to predict. A value at another level is an
#' error. To begin anew with other levels, make a new model.
#'
#' The file that `model$save("model.keras")` writes has these levels and columns, and `keras$models$load_model()` of a session
#' with kerasfit gives them back to the model. Without kerasfit the file loads too. Files of weights alone, files in the
#' formats ".h5" and SavedModel, and copies by `keras$models$clone_model()` do not have them.
#'
#' As an input, a factor is its codes where the input has an integer type or goes into an embedding, and its labels where it
#' has the type "string". For other inputs it is an error.
#'
#' @section Errors:
#' A mistake in an argument is a condition of class `kerasfit_error_argument` or `kerasfit_error_data`, both
#' `kerasfit_error`, with the field `argument`. It is signalled before the first step, as far as it can be seen then:
#' what a generator yields is looked at batch by batch. Data that do not fit the model's inputs and outputs are such a
#' mistake too. Missing values (`NA`, `NaN`) and infinite ones are mistakes in the data;
#' `options(kerasfit.allow_missing = TRUE)` lets `NaN` and infinite numbers pass, for a model that masks them.
#'
#' An error in a function of yours (a generator, a callback, a loss or metric) is a `kerasfit_error_user`, whose message
#' says which function it was. Your error, with its R traceback in the field `trace`, is in the field `parent`. What only
#' Keras objects to is a `kerasfit_error_python`. Both have the fields `epoch` and `batch`, as far as those are known, and
#' `history`, a [keras_training_history] of the epochs before. The Python traceback is in the field `python_traceback`.
#'
#' @section Interrupts:
#' Ctrl-C, or Esc in RStudio, ends training after the step that runs, or within a generator or callback in R at once.
#' Callbacks are told that training ends, and the model keeps its weights. A second Ctrl-C before training has ended is an
#' interrupt at once. `options(kerasfit.interrupt = )` says what comes then:
#'
#' * `"auto"`, the default: at the top level, `fit()` returns the history of the epochs so far, with `params$interrupted`.
#'   That is at the prompt, and in a statement of a script that `Rscript` or [source()] runs, a cell of a notebook or a chunk of
#'   knitr, in pipes and functions such as `suppressWarnings()` too. Within a function of yours, in a loop or in
#'   `lapply()`, the interrupt ends these too, so that no half-trained model gets into a result: R's interrupt is
#'   signalled, a condition of class `kerasfit_interrupt` with the field `history`. A loop at the top level
#'   itself, which R shows to nobody, ends with its next call of `fit()`, [evaluate()] or `predict()`.
#' * `"return"`: the history, always.
#' * `"error"`: the interrupt, always.
#'
#' [callback_backup_and_restore()] lets a later call go on where this one was. A fit() in a callback of another one ends with it.
#'
#' A time limit of R's, `setTimeLimit()` or `setSessionTimeLimit()`, ends training after the step too. That is an error of
#' class `kerasfit_error_time_limit`, with the field `history`; the model keeps its weights. R may print its own error as well.
#'
#' @section Leaving by other ways:
#' A condition or restart in a function of yours may end `fit()`, as in `tryCatch(fit(...), warning = )`: Python's part is left
#' first, then R goes on where it was to. `callCC()`, a `return()` or `break` of a function outside, and the debugger's Q are
#' an error of class `kerasfit_error_user` instead. Endless recursion in your function is such an error too.
#'
#' @section Calls within calls:
#' A callback or generator may call [evaluate()] and [predict()][predict.keras.src.trainers.trainer.Trainer] of the model that trains,
#' which goes on as if they had not been called, and `fit()` of another model. `fit()` of the same model is a
#' `kerasfit_error_state`.
#'
#' @section Copies of the process:
#' Once Keras has loaded, it cannot be used in a copy of the process, such as those of `parallel::mclapply()`: the threads of its
#' backend are not there. That is a `kerasfit_error_state`. `parallel::makePSOCKcluster()`, the package callr and
#' `future::plan("multisession")` make processes that load Keras themselves.
#'
#' @section Documents:
#' In a chunk of knitr with `cache = TRUE`, `fit()` warns, once for each document: knitr keeps R's values from one rendering to
#' the next, but not what the model, which is Python's, has learnt. Give such chunks `cache = FALSE`, or save the model in the
#' chunk and load it in another one that is not cached.
#'
#' @section Speed:
#' Many steps run in one compiled call, on data that stay on the device; where a callback of yours watches batches,
#' each step is a call of its own. How steps are compiled depends on the model, the device and the number of steps, and
#' never on time, so that what has a seed repeats. With TensorFlow, dropout by XLA on CPUs draws other random numbers
#' than Keras does. `options(kerasfit.plan = )` overrides the choice, `"auto"`:
#'
#' * `"loop"`: one loop over many steps.
#' * `"step"`: a call for each batch.
#' * `"xla"`, `"xla_step"`, with TensorFlow: the loop, or the steps alone, compiled by XLA. On CPUs that is the choice
#'   after the first 1000 steps of a model by the count of its optimizer (100 if it is convolutional or recurrent, 5000
#'   if it has less than 50 000 parameters otherwise): XLA takes a second or more to compile a loop, in the background
#'   of those steps, and small jobs are done by then. Data of few batches are trained on for several epochs in one
#'   call where there is no validation and no callback.
#'   Convolutions stay with `"loop"` where the processor has AVX-512.
#' * `"recorded"`, with PyTorch: the operations of a first step, replayed without Keras's Python. It is the choice on
#'   CPUs for models whose layers, losses and metrics are all Keras's own; what Python prints or counts in a step of
#'   another model, it goes on to.
#'
#' On CPUs, layers that Keras's backends compute slowly (convolutions, pooling, recurrent layers, dropout, narrow products)
#' are computed by functions of kerasfit's that give the same results up to rounding. One is used only where it fits the
#' installed version of Keras exactly, which a warning says once if it does not; a model that cannot be compiled with them
#' is compiled without. `options(kerasfit.kernels = FALSE)`, or the environment variable `KERASFIT_KERNELS=0`, turns them off.
#'
#' The first epoch includes compilation. What TensorFlow and JAX compile is kept, so that the same model starts sooner in
#' the next session; [use_backend()] says where.
#'
#' @param object A compiled Keras model.
#' @param x Inputs, with the samples along the first dimension: a vector, matrix or array, also with a class, such as a time
#'   series, a table or `I()`; a data frame; a matrix of the package Matrix, sparse or not; a list of them for several
#'   inputs; a named list for named inputs; a tensor. Or something that makes batches: a `tf.data.Dataset`, a
#'   `keras$utils$PyDataset` (its `workers` are threads, not processes; one that is written in R has none, since R runs on one
#'   thread), a `DataLoader` of PyTorch, a Python generator, or an R function (see below). A table of the package arrow is the
#'   data frame that `as.data.frame()` makes of it. Ragged tensors are for the batches of datasets and generators, with the
#'   backend TensorFlow. Integers of 64 bits, of the package bit64, are numbers here and in all arguments. An array of numpy's
#'   that is mapped from a file is read
#'   batch by batch. Arrays may have more than 2^31 elements, and up to that many rows.
#' @param y Targets: like `x`, or a factor; a list of them for several outputs. Not for datasets and generators, whose
#'   batches hold the targets.
#' @param ... For a model class with a `fit` of its own: further arguments for that. Otherwise there are none.
#' @param batch_size Samples in each step; if `NULL`, as many as the model's input says, `batch_shape = c(8, 5, 2)` for example;
#'   else as many as make `steps_per_epoch` steps of the data, as in Keras; else 32. Another number than the model's input says
#'   is an error. The input of a Sequential model counts only if a layer is stateful. For arrays only.
#' @param epochs The last epoch to train. With `initial_epoch = 6`, `epochs = 10` trains five epochs: 6 to 10.
#' @param callbacks A [callback][callbacks] or a list of them, such as `callback_early_stopping(patience = 3)`; also a Keras
#'   callback in Python, or one of a class that [Callback()] has made. Functions by the names of hooks stand for one,
#'   `list(on_epoch_end = function(epoch, logs) ...)`, also beside callbacks in a list; epochs and batches count from 1 for
#'   these.
#' @param validation_split A number in \[0, 1): the share of the samples to validate on instead of training on
#'   them. They are the last samples, cut off before shuffling. For arrays only.
#' @param validation_data What to validate on after an epoch: `list(x_val, y_val)` or
#'   `list(x_val, y_val, sample_weight)`, also as a `tuple()`; for a model without targets, `x_val` alone; a dataset; or a
#'   generator. Overrides `validation_split`.
#' @param shuffle Whether the samples of arrays get a new order each epoch. [set_random_seed()] makes it repeatable.
#' @param class_weight A named list or vector with a weight for each class, for the loss during training. See below.
#' @param sample_weight Weights of the samples in the loss during training, 0 or more unless the loss is your own: a vector
#'   as long as the data, or a matrix (samples, timesteps) for temporal data, as the loss has a value for each; other
#'   dimensions are an error. A list of them for several outputs, whose samples weigh 1 for outputs that a
#'   named list leaves out. For arrays only. Metrics are
#'   weighted if they were given to [compile()][compile.keras.src.trainers.trainer.Trainer] as `weighted_metrics`.
#' @param initial_epoch The first epoch to train, to go on with an earlier run.
#' @param steps_per_epoch Steps in each epoch. If `NULL`, an epoch is one pass over the data; needed for data that
#'   never end. The next epoch goes on where the last one stopped. -1: go on until the data end, if ever.
#' @param validation_steps Steps in each validation; if `NULL`, one pass over the validation data. Each validation
#'   of arrays and datasets begins at their beginning.
#' @param validation_batch_size Samples in each validation step; `batch_size` if `NULL`. For arrays only.
#' @param validation_freq Validate after every so many epochs; or, as a vector of two or more or a list, after these
#'   epochs.
#' @param verbose 0: silent. 1: a progress bar, and a line for each epoch. 2: the line only. "auto": 2 inside
#'   knitr and on a distributed worker, else 1.
#' @param view_metrics Whether to show the metrics while training goes on, with its progress and a button that stops it
#'   after the step. "auto": in RStudio's viewer, if there are metrics beside the loss, more than one epoch and `verbose` is
#'   not 0. `TRUE`: there, or else in the browser, on a page that this session serves to this computer alone. The path of a
#'   folder: nowhere; but what there is to show is kept in that folder, for [render_training()] in another process. kerasfit
#'   makes a folder `kerasfit-view` in it that only you can read, and touches nothing else; a folder that other users may
#'   write to is an error. Needs the packages htmlwidgets and plotly.
#'
#' @return A [keras_training_history], invisibly. The model itself is trained in place.
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
#' # go on for two more epochs, with a generator: an R function that returns the next batch
#' batch <- function() {
#'   rows <- sample(nrow(x), 32)
#'   list(x[rows, ], iris$Species[rows])
#' }
#' model |> fit(batch, steps_per_epoch = 10, initial_epoch = 6, epochs = 7)
#'
#' # an error in a function of yours: which function, where, and the epochs before it
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
#' # a PyDataset, a Python class written in R: batches by number, counted from 0 there
#' Batches <- reticulate::PyClass("Batches", inherit = keras$utils$PyDataset, defs = list(
#'   `__len__` = function(self) 5L,
#'   `__getitem__` = function(self, number) {
#'     rows <- shuffled[number * 30 + 1:30]
#'     tuple(x[rows, ], array(as.integer(iris$Species[rows]) - 1L))
#'   }
#' ))
#' model |> fit(Batches(), epochs = 2, verbose = 2)
#'
#' # a dataset of TensorFlow
#' if (reticulate::py_module_available("tensorflow")) {
#'   tf <- reticulate::import("tensorflow")
#'   codes <- array(as.integer(iris$Species) - 1L)
#'   model |> fit(tf$data$Dataset$from_tensor_slices(tuple(x, codes))$batch(25L), verbose = 2)
#' }
#'
#' # a sparse matrix, whose batches alone are made dense
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
#' @seealso [evaluate()], [predict()][predict.keras.src.trainers.trainer.Trainer], [keras_training_history]
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
    call
  )
  end_interrupted_loop()
  extra <- check_dots(..., call = call)
  warn_of_cached_chunk(call)
  list(x, y, sample_weight, validation_data, callbacks, view_metrics) # the user's code, which may be interrupted
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
    plan = plan_to_core(call),
    kernels = kernels_to_core(call),
    allow_missing = allow_missing_to_core(call),
    writer = console_writer(),
    view = view,
    !!!extra,
    convert = function(history) {
      # an interrupt that comes after the last step ends what comes after fit(), or else does nothing
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
