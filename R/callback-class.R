#' A callback class
#'
#' Makes a class of callbacks from functions by the names of Keras's hooks. Calling what it returns makes a callback, for
#' the argument `callbacks` of [fit()][fit.keras.src.models.model.Model], [evaluate()] and
#' [predict()][predict.keras.src.models.model.Model]. The class is one of the package R6.
#'
#' Hooks are called with the epoch, or batch, counted from 1, and `logs`, a named list of metrics:
#' `on_epoch_begin`, `on_epoch_end` (epoch, logs); `on_train_batch_begin`, `on_train_batch_end`, `on_test_batch_begin`,
#' `on_test_batch_end`, `on_predict_batch_begin`, `on_predict_batch_end` (batch, logs); `on_train_begin`, `on_train_end`,
#' `on_test_begin`, `on_test_end`, `on_predict_begin`, `on_predict_end` (logs). A function may have fewer arguments:
#' `function(epoch)`, `function(logs)`, `function()`.
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
#' @param ... Functions by the names of hooks.
#' @param public,private Named lists of further members: values and functions. A function `initialize` in `public` gets the
#'   arguments of the call that makes a callback; without it, they go to the class that is inherited from.
#' @param inherit The class to inherit from: another one that this function made, or a Python class of callbacks such as
#'   `keras$callbacks$EarlyStopping`.
#' @return A function that makes callbacks of the class: R6 objects.
#' @section Errors: `kerasfit_error_argument` if there is no hook of a name, or no function for it.
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
Callback <- function(classname, ..., public = list(), private = list(), inherit = NULL) {
  call <- sys.call()
  if (!is.character(classname) || length(classname) != 1 || is.na(classname)) {
    abort_argument("classname", sprintf("`classname` must be a name, not %s.", describe(classname)), call)
  }
  hooks <- list(...)
  check_hooks(hooks, call)
  parent <- callback_parent(inherit, call)
  overridden <- union(parent$private_fields$.overridden, intersect(names(c(hooks, public)), names(callback_hooks)))
  class <- R6::R6Class(
    classname,
    public = c(hooks, public), private = c(private, list(.overridden = overridden)), inherit = parent,
    lock_objects = FALSE, cloneable = FALSE,
    parent_env = rlang::env(rlang::caller_env(), parent = parent)
  )
  structure(function(...) class$new(...), class = "kerasfit_callback_class", generator = class)
}

#' The hooks of Keras's callbacks, and the arguments of their functions
#' @noRd
callback_hooks <- local({
  phases <- c("train", "test", "predict")
  batch <- outer(phases, c("begin", "end"), function(phase, end) sprintf("on_%s_batch_%s", phase, end))
  whole <- outer(phases, c("begin", "end"), function(phase, end) sprintf("on_%s_%s", phase, end))
  c(
    list(on_epoch_begin = c("epoch", "logs"), on_epoch_end = c("epoch", "logs")),
    stats::setNames(rep(list(c("batch", "logs")), 6), batch),
    list(on_batch_begin = c("batch", "logs"), on_batch_end = c("batch", "logs")),
    stats::setNames(rep(list("logs"), 6), whole)
  )
})

check_hooks <- function(hooks, call) {
  unknown <- setdiff(rlang::names2(hooks), names(callback_hooks))
  if (length(unknown)) {
    abort_argument(
      "...", sprintf("A callback has no hook of the name `%s`.", unknown[[1]]), call,
      hint = paste0("There are ", paste0("`", names(callback_hooks), "`", collapse = ", "), ".")
    )
  }
  for (name in names(hooks)) {
    if (!is.function(hooks[[name]])) {
      abort_argument("...", sprintf("`%s` must be a function, not %s.", name, describe(hooks[[name]])), call)
    }
  }
}

#' The R6 class that `inherit` stands for
#' @noRd
callback_parent <- function(inherit, call) {
  if (inherits(inherit, "kerasfit_callback_class")) {
    return(attr(inherit, "generator"))
  }
  python <- inherit %||% keras$callbacks$Callback
  if (!reticulate::is_py_object(python) || !reticulate::py_to_r(bridge$is_callback_class(python))) {
    abort_argument(
      "inherit", sprintf("`inherit` must be a class of callbacks, not %s.", describe(inherit)), call,
      hint = "`Callback()` makes those, and Keras has some, such as `keras$callbacks$EarlyStopping`."
    )
  }
  callback_of_python(python)
}

# R6 gives these to the methods of an object
utils::globalVariables(c("self", "private"))

#' An R6 class for a Python class of callbacks, whose hooks are that one's
#'
#' A callback in R has one in Python while it is in use, and not longer: each would keep the other alive for ever.
#' @noRd
callback_of_python <- function(python) {
  hook <- function(name, arguments) {
    values <- as.call(c(quote(list), lapply(arguments, as.name)))
    rlang::new_function(
      stats::setNames(rep(list(NULL), length(arguments)), arguments),
      bquote(invisible(bridge$call_hook(private$.class, private$.python, .(name), .(values)))), topenv()
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
        if (is.null(private$.python)) private$.last[[name]] else reticulate::py_to_r(private$.python[[name]])
      },
      .begin = function() private$.python <- callback_in_python(self, private),
      .end = function() {
        private$.last <- list(model = private$.of_python("model"), params = private$.of_python("params"))
        private$.python <- NULL
      }
    ),
    lock_objects = FALSE, cloneable = FALSE, parent_env = topenv()
  )
}

#' A Python callback that calls the functions of one in R
#' @noRd
callback_in_python <- function(self, private) {
  hooks <- lapply(stats::setNames(nm = private$.overridden), function(name) {
    with_arguments_of(self[[name]], callback_hooks[[name]])
  })
  state <- Filter(Negate(is.null), list(
    get_state = if (is.function(self$get_state)) {
      function() state_to_core(user_code(self$get_state()), paste("the callback", class(self)[[1]]))
    },
    set_state = if (is.function(self$set_state)) function(state) user_code(self$set_state(state_from_core(state)))
  ))
  arguments <- private$.arguments
  named <- nzchar(rlang::names2(arguments))
  bridge$callback(
    class(self)[[1]], private$.class,
    reticulate::dict(lapply(hooks, reticulate::r_to_py, convert = TRUE), convert = FALSE),
    reticulate::dict(lapply(state, reticulate::r_to_py, convert = FALSE), convert = FALSE),
    unname(arguments[!named]), reticulate::dict(arguments[named], convert = FALSE)
  )
}

is_r_callback <- function(value) is.environment(value) && inherits(value, "R6") && inherits(value, "Callback")

#' Begin, or end, the use of the callbacks among some that are R's
#' @noRd
begin_callback <- function(callback) callback$.__enclos_env__$private$.begin()
end_callbacks <- function(callbacks) {
  if (is_r_callback(callbacks)) {
    callbacks$.__enclos_env__$private$.end()
  } else if (is.list(callbacks) && !reticulate::is_py_object(callbacks)) {
    lapply(callbacks, end_callbacks)
  }
  invisible()
}

#' A function of some arguments that calls another one, of the user's, with those that it has: by name, or else the first
#' @noRd
with_arguments_of <- function(f, given) {
  has <- names(formals(args(f)))
  if ("..." %in% has) {
    return(function(...) user_code(f(...)))
  }
  taken <- if (all(has %in% given)) match(has, given) else seq_len(min(length(has), length(given)))
  named <- all(has %in% given)
  function(...) {
    values <- list(...)[taken]
    user_code(do.call(f, if (named) stats::setNames(values, has) else values))
  }
}
