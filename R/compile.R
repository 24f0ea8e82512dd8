#' Configure a model for training
#'
#' Sets the optimizer, loss and metrics of a model. A model must be compiled before it is trained or
#' evaluated. If it is compiled again, the metrics are those of the last call only, and the loss
#' stays the same unless `loss` is given.
#'
#' @param object A Keras model.
#' @param optimizer The name of an optimizer, or an object from `keras$optimizers`.
#' @param loss The name of a loss, an object from `keras$losses`, or a function of `y_true` and
#'   `y_pred`. For several outputs, a list of losses, or a named list for named outputs.
#' @param metrics Metrics to report: a name, an object from `keras$metrics`, a function of `y_true`
#'   and `y_pred`, or a list of these. For several outputs, a list of lists or a named list. Where
#'   the last dimension of `y_pred` is 1, a metric function gets `y_true` with the same number of
#'   dimensions, as losses do: a vector of targets is a column.
#' @param ... Further arguments for the `compile` method of a model class that has its own. That
#'   method gets only the arguments that were given.
#' @param loss_weights Weights of the losses of several outputs: a list or named list of numbers.
#' @param weighted_metrics Metrics that sample weights and class weights apply to.
#' @param run_eagerly Whether to run the model step by step in Python, which is slow but can be
#'   debugged.
#' @param steps_per_execution Number of steps between calls of callbacks with batch hooks.
#' @param jit_compile Whether to compile the model with XLA, or with `torch.compile` on PyTorch.
#'   "auto": Keras decides.
#' @param auto_scale_loss Whether to scale the loss of models in half precision.
#' @return The model, invisibly. It is compiled in place.
#'
#' @section Names of functions:
#' A loss or metric that is an R function needs a name for the history and for saved models. The
#' name is, in this order: its name in a list, `list(my_error = function(y_true, y_pred) ...)`; the
#' attribute `"py_function_name"`, which `keras3::custom_metric()` sets; the name of the variable,
#' `metrics = my_error`. Other functions are named `custom_loss` and `custom_metric`, followed by
#' their position or name in a list: `custom_metric_2`. While the package keras3 is loaded, names of
#' variables are not used, so that names agree with keras3.
#'
#' To load a saved model, pass the same functions under these names:
#' `keras$models$load_model("model.keras", custom_objects = list(my_error = my_error))`.
#'
#' With the package keras3, its functions may be passed without calling them:
#' `metrics = metric_binary_accuracy`.
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$layers$Dense(1L)))
#' model |> compile(optimizer = "adam", loss = "mse", metrics = "mae")
#' model |> compile(keras$optimizers$Adam(1e-3), keras$losses$Huber(), list("mae", "mape"))
#'
#' # a custom loss
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
compile.keras.src.trainers.trainer.Trainer <- function(
  object,
  optimizer = "rmsprop",
  loss = NULL,
  metrics = NULL,
  ...,
  loss_weights = NULL,
  weighted_metrics = NULL,
  run_eagerly = FALSE,
  steps_per_execution = 1L,
  jit_compile = "auto",
  auto_scale_loss = TRUE
) {
  call <- user_call("compile")
  check_model(object, call)
  own <- reticulate::py_to_r(bridge$overrides(object, "compile"))
  extra <- check_dots(..., call = call, known = own)
  given <- list(
    optimizer = call_keras3_constructor(optimizer),
    loss = loss,
    metrics = metrics,
    loss_weights = as_plain_list(plain_numbers(loss_weights)),
    weighted_metrics = weighted_metrics,
    run_eagerly = run_eagerly,
    steps_per_execution = plain_numbers(steps_per_execution),
    jit_compile = jit_compile,
    auto_scale_loss = auto_scale_loss
  )
  # the model's own compile() may not have all of these arguments
  given <- given[names(given) %in% names(match.call())]
  modules <- c(
    optimizer = "optimizers",
    loss = "losses",
    metrics = "metrics",
    weighted_metrics = "metrics"
  )
  for (name in intersect(names(modules), names(given))) {
    check_compile_argument(given[[name]], name, modules[[name]], own, call)
  }
  outputs <- from_core(bridge$output_names(object))
  written <- as.list(match.call())
  if (!is.null(given[["loss"]])) {
    given[["loss"]] <- wrap_user_functions(loss, outputs, "loss", written[["loss"]])
  }
  for (name in intersect(c("metrics", "weighted_metrics"), names(given))) {
    check_metrics(name, as_plain_list(given[[name]]), outputs, call)
    functions <- wrap_user_functions(given[[name]], outputs, "metric", written[[name]])
    given[name] <- list(as_plain_list(functions))
  }
  rlang::inject(call_core(
    call,
    bridge$compile_model,
    object,
    !!!lapply(given, names_to_core),
    !!!extra
  ))
  invisible(object)
}

#' Convert one metric or a vector of metrics to the list that Keras expects
#' @noRd
as_plain_list <- function(value) {
  if (is.null(value) || is.list(value)) {
    value
  } else if (is.atomic(value)) {
    as.list(value)
  } else {
    list(value)
  }
}

#' Check an optimizer, loss or metric, or a list of them
#'
#' Objects must belong to this session, and names must be known to Keras.
#' @param module The name of the module of Keras that has the objects: "optimizers", "losses" or
#'   "metrics".
#' @param own Whether the model has its own `compile()` method, which may accept other names.
#' @noRd
check_compile_argument <- function(value, argument, module, own, call) {
  if (reticulate::is_py_object(value)) {
    check_not_stale(value, argument, call)
  } else if ("class_name" %in% names(value)) {
    return(invisible()) # a serialized object
  } else if (is.list(value) || is.character(value) && length(value) > 1) {
    for (part in value) {
      check_compile_argument(part, argument, module, own, call)
    }
  } else if (rlang::is_string(value) && !own) {
    nearest <- reticulate::py_to_r(bridge$nearest_name(module, value))
    if (is.null(nearest)) {
      return(invisible())
    }
    hint <- if (nzchar(nearest)) sprintf('Did you mean "%s"?', nearest)
    abort_argument(
      argument,
      sprintf('`%s` is "%s", which does not exist in `keras$%s`.', argument, value, module),
      call,
      hint
    )
  } else if (!own && !is.null(value) && !is.function(value) && !is.character(value)) {
    message <- sprintf(
      "`%s` must be a name, an object of `keras$%s` or a function, not %s.",
      argument,
      module,
      describe(value)
    )
    abort_argument(argument, message, call)
  }
}

#' Check that metrics without names are one, or as many as there are outputs
#' @noRd
check_metrics <- function(name, value, outputs, call) {
  nested <- is.list(value) && any(vapply(value, is.list, NA))
  if (
    length(outputs) < 2 ||
      nested ||
      !is.null(names(value)) ||
      length(value) %in% c(0, length(outputs))
  ) {
    return(invisible())
  }
  message <- cli::pluralize(
    "`{name}` has {length(value)} element{?s} for the {length(outputs)} outputs of the model: ",
    "{toString(outputs)}."
  )
  hint <- sprintf('Name them by output: %s = list(%s = "mae").', name, outputs[1])
  abort_argument(name, message, call, hint)
}

#' Wrap a loss or metric that is an R function, or a list of them, for Python
#'
#' @param outputs Names of the model's outputs. Other names in a list are names of functions.
#' @param kind "loss" or "metric".
#' @param written The code of the argument, which may be the name of a variable.
#' @param default The name for a function that has none.
#' @param inner Whether the value is inside a list, where names are not outputs.
#' @noRd
wrap_user_functions <- function(
  value,
  outputs,
  kind,
  written = NULL,
  default = paste0("custom_", kind),
  inner = FALSE
) {
  value <- call_keras3_constructor(value)
  if (reticulate::is_py_object(value)) {
    if (kind == "metric") bridge$metric_of_r(value) else value
  } else if (is.list(value)) {
    own <- setdiff(names(value), c("", outputs))
    value[own] <- lapply(own, function(name) with_name(value[[name]], name))
    elements <- if (is.call(written) && length(written) == length(value) + 1) as.list(written)[-1]
    defaults <- paste(
      default,
      if (is.null(names(value))) seq_along(value) else names(value),
      sep = "_"
    )
    result <- lapply(seq_along(value), function(i) {
      wrap_user_functions(value[[i]], outputs, kind, elements[[i]], defaults[[i]], inner = TRUE)
    })
    if (inner) result else stats::setNames(result, names(value))
  } else if (is.function(value)) {
    name <- name_in_python(value, written, default)
    function_of_r <- structure(
      function(...) check_tensor(run_user_code(value(...)), kind, name),
      py_function_name = name
    )
    if (kind == "loss") {
      return(function_of_r)
    }
    bridge$metric(reticulate::r_to_py(function_of_r, convert = TRUE), name)
  } else {
    value
  }
}

#' Check that a loss or metric written in R returned a tensor or a number
#'
#' R's own functions may return other values for tensors; `mean()`, for example, returns NA.
#' @noRd
check_tensor <- function(value, kind, name) {
  if (reticulate::is_py_object(value) || is.numeric(value) && !anyNA(value)) {
    return(value)
  }
  message <- sprintf("The %s `%s` must return a tensor, not %s.", kind, name, describe(value))
  abort_argument(if (kind == "loss") "loss" else "metrics", message, NULL, tensors_advice("mean"))
}

#' The name of an R function for Keras
#' @noRd
name_in_python <- function(f, written, default) {
  given <- attr(f, "py_function_name", TRUE) %||%
    attr(f, "__name__", TRUE) %||%
    attr(f, "name", TRUE)
  variable <- if (is.symbol(written) && !isNamespaceLoaded("keras3")) as.character(written)
  given %||% variable %||% default
}

#' Call a constructor of keras3, or a class made with it, that was passed without calling it
#' @noRd
call_keras3_constructor <- function(value) {
  if (!is.function(value) || reticulate::is_py_object(value) || !isNamespaceLoaded("keras3")) {
    return(value)
  }
  if (!identical(topenv(environment(value) %||% baseenv()), asNamespace("keras3"))) {
    return(value)
  }
  made <- tryCatch(value(), error = function(error) NULL)
  if (reticulate::is_py_object(made)) made else value
}

#' Set the name that a function has in Python, unless it has one
#' @noRd
with_name <- function(value, name) {
  if (is.function(value) && is.null(attr(value, "py_function_name"))) {
    attr(value, "py_function_name") <- name
  }
  value
}
