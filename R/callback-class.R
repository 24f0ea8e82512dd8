#' A callback class
#'
#' Makes a class of callbacks from functions by the names of Keras's hooks. Calling what it returns makes a callback, for
#' the argument `callbacks` of [fit()][fit.keras.src.trainers.trainer.Trainer], [evaluate()] and
#' [predict()][predict.keras.src.trainers.trainer.Trainer]. The class is one of the package R6.
#'
#' Hooks are called with the epoch, or batch, counted from 1, and `logs`, a named list of metrics:
#' `on_epoch_begin`, `on_epoch_end` (epoch, logs); `on_train_batch_begin`, `on_train_batch_end`, `on_test_batch_begin`,
#' `on_test_batch_end`, `on_predict_batch_begin`, `on_predict_batch_end` (batch, logs); `on_train_begin`, `on_train_end`,
#' `on_test_begin`, `on_test_end`, `on_predict_begin`, `on_predict_end` (logs). A function may have fewer arguments:
#' `function(epoch)`, `function(logs)`, `function()`.
#'
#' A function that returns a named list, such as changed `logs`, updates the logs with the numbers in it: at the end of an epoch
#' the history has them, and the callbacks that come later see them.
#'
#' In functions, `self` is the callback, with `self$model` and `self$params`; `self$model$stop_training <- TRUE` ends training
#' after the step. `private` has the private members, and `super` the functions of the class that is inherited from.
#' Where a function watches batches, each step is a call of its own; without such functions many steps are one call.
#'
#' Public methods `get_state()` and `set_state(state)` let [callback_backup_and_restore()] keep and restore what the callback
#' knows: vectors, lists, factors, data frames, and other R values that are made of vectors. A function, an environment or a
#' Python object among them is an error that names it.
#'
#' @param classname The name of the class, which errors mention.
#' @param on_epoch_begin,on_epoch_end,on_train_begin,on_train_end,on_train_batch_begin,on_train_batch_end
#'   Functions that are called while a model is trained.
#' @param on_test_begin,on_test_end,on_test_batch_begin,on_test_batch_end Functions that are called in validation and by
#'   [evaluate()].
#' @param on_predict_begin,on_predict_end,on_predict_batch_begin,on_predict_batch_end Functions that are called by
#'   [predict()][predict.keras.src.trainers.trainer.Trainer].
#' @param ... Further members by their names: values and functions. A function `initialize` gets the arguments of the call that
#'   makes a callback; without it, they go to the class that is inherited from.
#' @param public,private,active Named lists of members: those of `public` are as if they were in `...`; those of `private` are in
#'   `private` for the functions of the class; those of `active` are functions that are used like values, as in [R6::R6Class()].
#' @param inherit The class to inherit from: another one that this function made, a Python class of callbacks such as
#'   `keras$callbacks$EarlyStopping`, its name, or the function that makes such callbacks, `callback_early_stopping`.
#' @param parent_env The environment in which functions look for what they do not find in the callback.
#' @return A function that makes callbacks of the class: R6 objects.
#' @section Errors: `kerasfit_error_argument` if a name begins with `on_` and there is no such hook, or no function for it.
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
#' # one of Keras's, with something added
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
  if (!is.character(classname) || length(classname) != 1 || is.na(classname)) {
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

#' Members of a callback have names, and those that begin like hooks are hooks
#' @noRd
check_members <- function(members, call) {
  unnamed <- which(!nzchar(rlang::names2(members)))
  if (length(unnamed)) {
    abort_argument(
      "...",
      sprintf("Members of a callback have names, and element %d of `...` has none.", unnamed[[1]]),
      call
    )
  }
  check_hooks(members[grepl("^on_", names(members))], call)
}

#' The R6 class that `inherit` stands for
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
        "`Callback()` makes those, and Keras has some, such as `keras$callbacks$EarlyStopping`,",
        '`callback_early_stopping` or "EarlyStopping".'
      )
    )
  }
  r_class_of_python_callback(python)
}

#' The Python class that a class, its name, or a function `callback_...()` of kerasfit's or keras3's stands for
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
  # keras3::Callback() makes functions that make objects of a Python class
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

# R6 gives these to the methods of an object
utils::globalVariables(c("self", "private"))

#' An R6 class for a Python class of callbacks, whose hooks are that one's
#'
#' A callback in R has one in Python while it is in use, and not longer: each would keep the other alive for ever.
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

#' A Python callback that calls the functions of one in R
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
