#' Define a callback class
#'
#' Creates a class of callbacks from functions named after Keras's hooks. Call the returned function
#' to create a callback for the argument `callbacks` of
#' [fit()][fit.keras.src.trainers.trainer.Trainer], [evaluate()] and
#' [predict()][predict.keras.src.trainers.trainer.Trainer]. The class is an R6 class.
#'
#' @section Hooks:
#' | Hook | Arguments |
#' | --- | --- |
#' | `on_epoch_begin`, `on_epoch_end` | `epoch`, `logs` |
#' | `on_train_batch_begin`, `on_train_batch_end` | `batch`, `logs` |
#' | `on_train_begin`, `on_train_end` | `logs` |
#'
#' The hooks in the last two rows also exist with `test` or `predict` instead of `train`, for
#' example `on_test_batch_end`. Epochs and batches count from 1, and `logs` is a named list of
#' metrics. A function may have fewer
#' arguments: `function(epoch)`, `function(logs)`, `function()`.
#'
#' If a function returns a named list, such as changed `logs`, the numbers in it update the logs. At
#' the end of an epoch they are stored in the history, and later callbacks see them.
#'
#' In a function, `self` is the callback, with `self$model` and `self$params`.
#' `self$model$stop_training <- TRUE` ends training after the current step. `private` has the
#' private members, and `super` the functions of the parent class. With a batch hook, each step is a
#' separate call; without one, many steps run in one call.
#'
#' @section Storing state:
#' The public methods `get_state()` and `set_state(state)` let [callback_backup_and_restore()] store
#' and restore the state of the callback: vectors, lists, factors, data frames and other values made
#' of vectors. A function, an environment or a Python object in the state is an error that names it.
#'
#' @param classname The name of the class, which error messages mention.
#' @param
#'   on_epoch_begin,on_epoch_end,on_train_begin,on_train_end,on_train_batch_begin,on_train_batch_end
#'   Functions that are called during training.
#' @param on_test_begin,on_test_end,on_test_batch_begin,on_test_batch_end Functions that are called
#'   during validation and by [evaluate()].
#' @param on_predict_begin,on_predict_end,on_predict_batch_begin,on_predict_batch_end Functions that
#'   are called by [predict()][predict.keras.src.trainers.trainer.Trainer].
#' @param ... Further named members: values and functions. A function `initialize` gets the
#'   arguments of the call that creates a callback; without it, they are passed to the parent class.
#' @param public,private,active Named lists of members, as in [R6::R6Class()]. Members of `public`
#'   may also be given in `...`.
#' @param inherit The parent class: another class made by `Callback()`, a Python class such as
#'   `keras$callbacks$EarlyStopping`, the name of one, or the function that makes such callbacks,
#'   `callback_early_stopping`.
#' @param parent_env The environment in which functions look up names that they do not find in the
#'   callback.
#' @return A function that creates callbacks of the class, which are R6 objects.
#' @section Errors: `kerasfit_error_argument` if a name begins with `on_` and is not a hook, or if a
#' hook is not a function.
#' @examplesIf kerasfit:::has_keras()
#' LossBelow <- Callback(
#'   "LossBelow",
#'   on_epoch_end = function(epoch, logs) {
#'     self$losses <- c(self$losses, logs$loss)
#'     if (logs$loss < self$goal) self$model$stop_training <- TRUE
#'   },
#'   public = list(goal = NULL, losses = NULL, initialize = function(goal) self$goal <- goal)
#' )
#'
#' model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#' model |> compile("adam", "sparse_categorical_crossentropy")
#' below <- LossBelow(1)
#' model |> fit(as.matrix(iris[1:4]), iris$Species, epochs = 200, callbacks = below, verbose = 0)
#' length(below$losses)
#'
#' # a class of Keras, extended
#' Loud <- Callback("Loud", inherit = keras$callbacks$EarlyStopping, on_train_end = function(logs) {
#'   super$on_train_end(logs)
#'   cat("the end\n")
#' })
#' model |> fit(
#'   as.matrix(iris[1:4]), iris$Species,
#'   epochs = 5, callbacks = Loud(monitor = "loss", patience = 2L), verbose = 0
#' )
#' @seealso [callbacks]
#' @export
Callback <- function(
  classname,
  on_epoch_begin = NULL,
  on_epoch_end = NULL,
  on_train_begin = NULL,
  on_train_end = NULL,
  on_train_batch_begin = NULL,
  on_train_batch_end = NULL,
  on_test_begin = NULL,
  on_test_end = NULL,
  on_test_batch_begin = NULL,
  on_test_batch_end = NULL,
  on_predict_begin = NULL,
  on_predict_end = NULL,
  on_predict_batch_begin = NULL,
  on_predict_batch_end = NULL,
  ...,
  public = list(),
  private = list(),
  active = list(),
  inherit = NULL,
  parent_env = parent.frame()
) {
  call <- sys.call()
  if (!rlang::is_string(classname)) {
    abort_argument(
      "classname",
      sprintf("`classname` must be a name, not %s.", describe(classname)),
      call
    )
  }
  named_hooks <- setdiff(
    names(formals()),
    c("classname", "...", "public", "private", "active", "inherit", "parent_env")
  )
  members <- c(Filter(Negate(is.null), mget(named_hooks)), collect_dots(...))
  members[names(public)] <- public
  check_members(members, call)
  parent <- callback_parent(inherit, call)
  overridden <- union(
    parent$private_fields$.overridden,
    intersect(names(members), names(callback_hooks))
  )
  class <- R6::R6Class(
    classname,
    public = members,
    private = c(private, list(.overridden = overridden)),
    active = active,
    inherit = parent,
    lock_objects = FALSE,
    cloneable = FALSE,
    parent_env = rlang::env(parent_env, parent = parent)
  )
  structure(function(...) class$new(...), class = "kerasfit_callback_class", generator = class)
}

#' Check that all members have names, and that names beginning with `on_` are hooks
#' @noRd
check_members <- function(members, call) {
  unnamed <- which(!nzchar(rlang::names2(members)))
  if (length(unnamed)) {
    abort_argument(
      "...",
      sprintf("Members of a callback must be named, and element %d of `...` is not.", unnamed[[1]]),
      call
    )
  }
  check_hooks(members[grepl("^on_", names(members))], call)
}

#' Find the R6 class for the argument `inherit`
#' @noRd
callback_parent <- function(inherit, call) {
  if (inherits(inherit, "kerasfit_callback_class")) {
    return(attr(inherit, "generator"))
  }
  python <- callback_class_in_python(inherit)
  if (!reticulate::is_py_object(python) || !reticulate::py_to_r(bridge$is_callback_class(python))) {
    abort_argument(
      "inherit",
      sprintf("`inherit` must be a class of callbacks, not %s.", describe(inherit)),
      call,
      hint = paste(
        "Use a class made by `Callback()` or one of Keras, such as",
        "`keras$callbacks$EarlyStopping`,",
        '`callback_early_stopping` or "EarlyStopping".'
      )
    )
  }
  r_class_of_python_callback(python)
}

#' Find the Python class for a class, its name, or a function `callback_...()` of kerasfit or keras3
#' @noRd
callback_class_in_python <- function(inherit) {
  if (is.null(inherit)) {
    return(keras$callbacks$Callback)
  }
  if (rlang::is_string(inherit)) {
    return(tryCatch(keras$callbacks[[inherit]], error = function(error) NULL))
  }
  if (!is.function(inherit) || reticulate::is_py_object(inherit)) {
    return(inherit)
  }
  for (package in intersect(c("kerasfit", "keras3"), loadedNamespaces())) {
    for (name in grep("^callback_", getNamespaceExports(package), value = TRUE)) {
      if (!identical(inherit, getExportedValue(package, name))) {
        next
      }
      class <- callback_classes[[name]]
      return(if (!is.null(class)) keras$callbacks[[class]])
    }
  }
  # keras3::Callback() returns functions that create objects of a Python class
  get0("__class__", environment(inherit), inherits = FALSE)
}

callback_classes <- list(
  callback_csv_logger = "CSVLogger",
  callback_early_stopping = "EarlyStopping",
  callback_lambda = "LambdaCallback",
  callback_learning_rate_scheduler = "LearningRateScheduler",
  callback_model_checkpoint = "ModelCheckpoint",
  callback_reduce_lr_on_plateau = "ReduceLROnPlateau",
  callback_remote_monitor = "RemoteMonitor",
  callback_swap_ema_weights = "SwapEMAWeights",
  callback_tensorboard = "TensorBoard",
  callback_terminate_on_nan = "TerminateOnNaN"
)

# R6 defines these in the methods of an object
utils::globalVariables(c("self", "private"))

#' Create an R6 class whose hooks call those of a Python callback class
#'
#' A callback in R has a Python object only while it is in use. Otherwise each would keep the other
#' alive for ever.
#' @noRd
r_class_of_python_callback <- function(python) {
  hook <- function(name, arguments) {
    values <- as.call(c(quote(list), lapply(arguments, as.name)))
    rlang::new_function(
      stats::setNames(rep(list(NULL), length(arguments)), arguments),
      bquote(invisible(bridge$call_hook(private$.class, private$.python, .(name), .(values)))),
      topenv()
    )
  }
  R6::R6Class(
    "Callback",
    public = c(
      Map(hook, names(callback_hooks), callback_hooks),
      list(initialize = function(...) private$.arguments <- list(...))
    ),
    active = list(
      model = function(value) private$.of_python("model"),
      params = function(value) private$.of_python("params")
    ),
    private = list(
      .class = python,
      .arguments = list(),
      .overridden = character(),
      .python = NULL,
      .last = list(),
      .of_python = function(name) {
        if (is.null(private$.python)) {
          private$.last[[name]]
        } else {
          reticulate::py_to_r(private$.python[[name]])
        }
      },
      .begin = function() private$.python <- python_callback(self, private),
      .end = function() {
        private$.last <- list(
          model = private$.of_python("model"),
          params = private$.of_python("params")
        )
        private$.python <- NULL
      }
    ),
    lock_objects = FALSE,
    cloneable = FALSE,
    parent_env = topenv()
  )
}

#' Create a Python callback that calls the functions of an R callback
#' @noRd
python_callback <- function(self, private) {
  hooks <- lapply(stats::setNames(nm = private$.overridden), function(name) {
    hook_to_core(self[[name]], callback_hooks[[name]])
  })
  state <- Filter(
    Negate(is.null),
    list(
      get_state = if (is.function(self$get_state)) {
        function() {
          state_to_core(run_user_code(self$get_state()), paste("the callback", class(self)[[1]]))
        }
      },
      set_state = if (is.function(self$set_state)) {
        function(state) run_user_code(self$set_state(state_from_core(state)))
      }
    )
  )
  arguments <- private$.arguments
  named <- nzchar(rlang::names2(arguments))
  bridge$callback(
    class(self)[[1]],
    private$.class,
    reticulate::dict(hooks, convert = FALSE),
    reticulate::dict(lapply(state, reticulate::r_to_py, convert = FALSE), convert = FALSE),
    unname(arguments[!named]),
    reticulate::dict(arguments[named], convert = FALSE)
  )
}
