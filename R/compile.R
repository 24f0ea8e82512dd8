#' Say how a Keras model is to be trained
#'
#' Sets a model's optimizer, loss and metrics. A model must be compiled before it is trained or evaluated. A model that is
#' compiled again has the metrics of the last call, and none if that names none; its loss stays if `loss` is not given.
#'
#' @param object A Keras model.
#' @param optimizer The name of an optimizer or an object from `keras$optimizers`.
#' @param loss The name of a loss, an object from `keras$losses`, or a function of `y_true` and `y_pred`; a list of
#'   them for several outputs, a named list for named outputs.
#' @param metrics Metrics to report: the names, objects from `keras$metrics` or functions, one or a list of them; a
#'   list of lists or a named list for several outputs. Such functions get `y_true` with as many dimensions as
#'   `y_pred` where that has a last one of 1, as losses do: a vector of targets is a column for them.
#' @param ... For a model class with a `compile` of its own: further arguments for that. It gets only those arguments that
#'   were given.
#' @param loss_weights Weights of the losses of several outputs: a list or named list of numbers.
#' @param weighted_metrics Metrics that sample weights and class weights apply to.
#' @param run_eagerly Whether to run the model step by step in Python, which is slow but can be debugged.
#' @param steps_per_execution Steps between the calls of callbacks that watch batches.
#' @param jit_compile Whether to compile the model with XLA (for torch, with `torch.compile`); "auto" leaves it to Keras.
#' @param auto_scale_loss Whether to scale the loss of models in half precision.
#' @return The model, invisibly. It is compiled in place.
#'
#' @section The names of functions:
#' A loss or metric that is a function of R's has a name, for the history and in a saved model: its name in a list,
#' `list(my_error = function(y_true, y_pred) ...)`; or the attribute `"py_function_name"`, which `keras3::custom_metric()`
#' sets; or that of the variable, `metrics = my_error`. Others are `custom_loss` and `custom_metric`, with
#' their place or name in a list: `custom_metric_2`. While the package keras3 is loaded, names of variables do not count,
#' so that names are as keras3 makes them. A saved model is loaded with the same functions by these names:
#' `keras$models$load_model("model.keras", custom_objects = list(my_error = my_error))`.
#'
#' With the package keras3, its functions need not be called: `metrics = metric_binary_accuracy`.
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
  # a compile() of the model's own may not know them all
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

#' One metric, or a vector of them, as the list that Keras wants
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

#' An optimizer, loss or metric, or a list of them: objects of this session, functions, or names that Keras knows
#' @param module Keras's module of such.
#' @param own Whether the model has a `compile` of its own, for which names may mean something else.
#' @noRd
check_compile_argument <- function(value, argument, module, own, call) {
  if (reticulate::is_py_object(value)) {
    check_not_stale(value, argument, call)
  } else if ("class_name" %in% names(value)) {
    return(invisible()) # a configuration
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
      sprintf('`%s` is "%s", and `keras$%s` has nothing of that name.', argument, value, module),
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

#' Metrics without names are one, or a list of them, for each output
#' @noRd
check_metrics <- function(name, value, outputs, call) {
  nested <- is.list(value) && any(vapply(value, is.list, NA)) # as the outputs may be
  if (
    length(outputs) < 2 ||
      nested ||
      !is.null(names(value)) ||
      length(value) %in% c(0, length(outputs))
  ) {
    return(invisible())
  }
  message <- sprintf(
    "`%s` has %d %s for the %d outputs of the model: %s.",
    name,
    length(value),
    if (length(value) == 1) "element" else "elements",
    length(outputs),
    paste(outputs, collapse = ", ")
  )
  hint <- sprintf('Say which belong to which output: %s = list(%s = "mae").', name, outputs[1])
  abort_argument(name, message, call, hint)
}

#' A loss or metric that is a function of R's, or a list of such, as Python may call it
#' @param outputs The names of the model's outputs; other names in a list are those of functions.
#' @param kind "loss" or "metric".
#' @param written The code that was given for the value.
#' @param default The name of a function that has none.
#' @param inner Whether this is in a list, which names no outputs then.
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

#' What a loss or metric in R returns, unless it is what R's functions make of tensors, such as NA by `mean()`
#' @noRd
check_tensor <- function(value, kind, name) {
  if (reticulate::is_py_object(value) || is.numeric(value) && !anyNA(value)) {
    return(value)
  }
  message <- sprintf("The %s `%s` must return a tensor, not %s.", kind, name, describe(value))
  abort_argument(if (kind == "loss") "loss" else "metrics", message, NULL, tensors_advice("mean"))
}

name_in_python <- function(f, written, default) {
  given <- attr(f, "py_function_name", TRUE) %||%
    attr(f, "__name__", TRUE) %||%
    attr(f, "name", TRUE)
  variable <- if (is.symbol(written) && !isNamespaceLoaded("keras3")) as.character(written)
  given %||% variable %||% default
}

#' What a function of keras3's, or a class made with it, makes if nobody has called it: an optimizer, loss or metric
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

#' A function with the name that reticulate gives it in Python, where it has none
#' @noRd
with_name <- function(value, name) {
  if (is.function(value) && is.null(attr(value, "py_function_name"))) {
    attr(value, "py_function_name") <- name
  }
  value
}
