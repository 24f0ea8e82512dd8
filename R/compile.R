#' Say how a Keras model is to be trained
#'
#' Sets a model's optimizer, loss and metrics. A model must be compiled before it is trained or evaluated.
#'
#' @param object A Keras model.
#' @param optimizer The name of an optimizer or an object from `keras$optimizers`.
#' @param loss The name of a loss, an object from `keras$losses`, or a function of `y_true` and `y_pred`; a list of
#'   them for several outputs, a named list for named outputs.
#' @param metrics Metrics to report: the names, objects from `keras$metrics` or functions, one or a list of them; a
#'   list of lists or a named list for several outputs. Other names in a list are those that functions have in the
#'   history: `list(my_error = function(y_true, y_pred) ...)`. Such functions get `y_true` with as many dimensions as
#'   `y_pred` where that has a last one of 1, as losses do.
#' @param ... For a model class with a `compile` of its own: further arguments for that. It gets only those arguments that
#'   were given.
#' @param loss_weights Weights of the losses of several outputs: a list or named list of numbers.
#' @param weighted_metrics Metrics that sample weights and class weights apply to.
#' @param run_eagerly Whether to run the model step by step in Python, which is slow but can be debugged.
#' @param steps_per_execution Steps between the calls of callbacks that watch batches.
#' @param jit_compile Whether to compile the model with XLA (for torch, with `torch.compile`); "auto" leaves it to Keras.
#' @param auto_scale_loss Whether to scale the loss of models in half precision.
#' @return The model, invisibly. It is compiled in place.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$layers$Dense(1L)))
#' model |> compile(optimizer = "adam", loss = "mse", metrics = "mae")
#' model |> compile(keras$optimizers$Adam(1e-3), keras$losses$Huber(), list("mae", "mape"))
#'
#' # a loss of one's own
#' asymmetric <- function(y_true, y_pred) {
#'   error <- y_true - y_pred
#'   keras$ops$mean(keras$ops$maximum(0.9 * error, -0.1 * error), axis = -1L)
#' }
#' model |> compile("adam", asymmetric)
#' model |> fit(as.matrix(cars["speed"]), cars$dist, verbose = 0)
#' @aliases compile
#' @importFrom generics compile
#' @rawNamespace export(compile)
#' @export
compile.keras.src.models.model.Model <- function(object, optimizer = "rmsprop", loss = NULL, metrics = NULL, ...,
                                                 loss_weights = NULL, weighted_metrics = NULL, run_eagerly = FALSE,
                                                 steps_per_execution = 1L, jit_compile = "auto",
                                                 auto_scale_loss = TRUE) {
  call <- user_call("compile")
  check_model(object, call)
  own <- reticulate::py_to_r(bridge$overrides(object, "compile"))
  extra <- check_extra(..., call = call, known = own)
  given <- list(
    optimizer = optimizer, loss = loss, metrics = as_plain_list(metrics), loss_weights = as_plain_list(loss_weights),
    weighted_metrics = as_plain_list(weighted_metrics), run_eagerly = run_eagerly,
    steps_per_execution = as.integer(steps_per_execution), jit_compile = jit_compile, auto_scale_loss = auto_scale_loss
  )
  # a compile() of the model's own may not know them all
  given <- given[names(given) %in% names(match.call())]
  modules <- c(optimizer = "optimizers", loss = "losses", metrics = "metrics", weighted_metrics = "metrics")
  for (name in intersect(names(modules), names(given))) check_parts(given[[name]], name, modules[[name]], own, call)
  outputs <- reticulate::py_to_r(bridge$output_names(object))
  metrics <- intersect(c("metrics", "weighted_metrics"), names(given))
  for (name in metrics) check_metrics(name, given[[name]], outputs, call)
  given <- Map(function(value, name) function_of_user(value, outputs, name %in% metrics), given, names(given))
  rlang::inject(call_core(call, object$compile, !!!given, !!!extra))
  invisible(object)
}

#' One metric, or a vector of them, as the list that Keras wants
#' @noRd
as_plain_list <- function(value) {
  if (is.null(value) || is.list(value)) value else if (is.atomic(value)) as.list(value) else list(value)
}

#' An optimizer, loss or metric, or a list of them: objects of this session, functions, or names that Keras knows
#' @param module Keras's module of such.
#' @param own Whether the model has a `compile` of its own, for which names may mean something else.
#' @noRd
check_parts <- function(value, argument, module, own, call) {
  if (reticulate::is_py_object(value)) {
    check_alive(value, argument, call)
  } else if ("class_name" %in% names(value)) {
    return(invisible()) # a configuration
  } else if (is.list(value) || is.character(value) && length(value) > 1) {
    for (part in value) check_parts(part, argument, module, own, call)
  } else if (rlang::is_string(value) && !own) {
    nearest <- reticulate::py_to_r(bridge$nearest_name(module, value))
    if (is.null(nearest)) return(invisible())
    hint <- if (nzchar(nearest)) sprintf('Did you mean "%s"?', nearest)
    abort_argument(argument, sprintf('`%s` is "%s", which Keras has none of in `keras$%s`.', argument, value, module), call, hint)
  } else if (!own && !is.null(value) && !is.function(value) && !is.character(value)) {
    message <- sprintf("`%s` must be a name, an object of `keras$%s` or a function, not %s.", argument, module, describe(value))
    abort_argument(argument, message, call)
  }
}

#' Metrics without names are one, or a list of them, for each output
#' @noRd
check_metrics <- function(name, value, outputs, call) {
  nested <- is.list(value) && any(vapply(value, is.list, NA)) # as the outputs may be
  if (length(outputs) < 2 || nested || !is.null(names(value)) || length(value) %in% c(0, length(outputs))) {
    return(invisible())
  }
  message <- sprintf(
    "`%s` has %d %s for the %d outputs of the model: %s.", name, length(value),
    if (length(value) == 1) "element" else "elements", length(outputs), paste(outputs, collapse = ", ")
  )
  hint <- sprintf('Say which belong to which output: %s = list(%s = "mae").', name, outputs[1])
  abort_argument(name, message, call, hint)
}

#' A loss or metric that is a function of R's, or a list of such, as Python may call it
#' @param outputs The names of the model's outputs; other names in a list are those of functions.
#' @param metric Whether the functions are metrics.
#' @param inner Whether this is in a list, which names no outputs then.
#' @noRd
function_of_user <- function(value, outputs, metric, inner = FALSE) {
  if (reticulate::is_py_object(value)) {
    value
  } else if (is.list(value)) {
    own <- setdiff(names(value), c("", outputs))
    value[own] <- lapply(own, function(name) with_name(value[[name]], name))
    lapply(if (inner) unname(value) else value, function_of_user, outputs, metric, inner = TRUE)
  } else if (is.function(value)) {
    function_of_r <- `attributes<-`(function(...) user_code(value(...)), attributes(value))
    if (!metric) return(function_of_r)
    bridge$metric(reticulate::r_to_py(function_of_r, convert = TRUE), attr(value, "py_function_name"))
  } else {
    value
  }
}

#' A function with the name that reticulate gives it in Python, where it has none
#' @noRd
with_name <- function(value, name) {
  if (is.function(value) && is.null(attr(value, "py_function_name"))) attr(value, "py_function_name") <- name
  value
}
