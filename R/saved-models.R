# Models in values that R saves or sends: by saveRDS(), in workspaces, to workers of future.
#
# A Python object is for R a pointer, which R saves as NULL. Beside the pointer of a model, kerasfit
# keeps a value that R saves as the bytes of the model, see src/saved_state.c. The first use of a
# model that was read makes it again from the bytes.

#' Models that R saves or sends
#'
#' A model that [compile()][compile.keras.src.trainers.trainer.Trainer],
#' [fit()][fit.keras.src.trainers.trainer.Trainer] or another function of kerasfit has used can be
#' saved and sent like an R value, with its weights, its optimizer and its levels: with [saveRDS()],
#' [save()] or a workspace, to the workers of the packages future, callr or parallel, as a target of
#' the package targets. Where it is read, the model is made again when it is used for the first
#' time: by a function of kerasfit, or by `model$...`. Until then it prints as a null pointer, and
#' functions of other packages fail.
#'
#' @details A saved model takes as much space as its variables, three times that of its weights with
#'   the optimizer Adam. Nothing is converted before R saves the model. Reading it runs no code: it
#'   uses only classes of Keras and those that are already loaded. Objects other than models, such
#'   as callbacks and optimizers, cannot be saved.
#'
#'   `options(kerasfit.saved_size = )` is the number of bytes up to which models are saved, by
#'   default 1e8; 0 saves none. R warns when it saves a model without its weights because it is
#'   larger, because its layers, losses or metrics are R functions or are defined in the session, or
#'   because layers were frozen since `compile()`. Save such models with
#'   `model$save("model.keras")`.
#' @name saved_models
#' @examplesIf kerasfit:::has_keras()
#' model <- keras$Sequential(list(keras$Input(list(1L)), keras$layers$Dense(1L)))
#' model |> compile("sgd", "mse")
#' file <- tempfile()
#' saveRDS(model, file)
#' restored <- readRDS(file)
#' identical(predict(restored, 1:3, verbose = 0), predict(model, 1:3, verbose = 0))
NULL

#' The environment with the pointer to a model, which all copies of the R object share
#' @noRd
pointer_of <- function(model) {
  pointer <- attr(model, "py_object", exact = TRUE)
  if (is.environment(pointer)) {
    pointer
  } else if (is.environment(model)) {
    model
  }
}

#' The value that R saves with a model; NULL if there is none
#'
#' `$` would be that of Python objects.
#' @noRd
state_of <- function(model) {
  pointer <- pointer_of(model)
  if (!is.null(pointer)) get0(".kerasfit_state", pointer, inherits = FALSE)
}

#' Make R save the state of a model with the object
#' @noRd
remember_state <- function(model) {
  pointer <- pointer_of(model)
  if (!is.null(pointer) && is.null(state_of(model))) {
    state <- .Call(C_new_state, function() bytes_of_model(model))
    assign(".kerasfit_state", state, pointer)
  }
  invisible(model)
}

#' The bytes of a model; NULL if it is too large, or if this is a forked copy of the process
#'
#' R calls this in the middle of saving, so errors become warnings.
#' @noRd
bytes_of_model <- function(model) {
  limit <- getOption("kerasfit.saved_size", 1e8)
  if (!limit || Sys.getpid() != processes$keras) {
    return(NULL)
  }
  lost <- function(reason) {
    message <- paste("R saves the model without its weights.", reason)
    warn_kerasfit(c(message, i = 'Save it with `model$save("model.keras")`.'))
    NULL
  }
  bytes <- tryCatch(bridge$model_to_bytes(model, limit), error = identity)
  if (inherits(bytes, "error")) {
    return(lost(sub("\n.*", "", sub("^[^:]*Error: ", "", conditionMessage(bytes)))))
  }
  bytes <- reticulate::py_to_r(bytes)
  if (is.null(bytes)) lost("It is larger than `options(kerasfit.saved_size = )`.") else bytes
}

#' Whether a value is a model that was read, and can be made again
#' @noRd
saved_state <- function(model) {
  if (!is.null(state <- state_of(model))) .Call(C_bytes_of, state)
}

#' Make a model that was read again, in the same R object; other values remain as they are
#' @noRd
revive <- function(model, call = NULL) {
  if (!reticulate::py_is_null_xptr(model) || is.null(bytes <- saved_state(model))) {
    return(invisible(model))
  }
  made <- call_core(call, bridge$model_from_bytes, bytes)
  pointer <- pointer_of(model)
  assign("pyobj", get("pyobj", pointer_of(made)), pointer)
  rm(".kerasfit_state", envir = pointer)
  remember_state(model)
}

#' @export
`$.keras.src.models.model.Model` <- function(x, name) {
  if (!is.null(state_of(x)) && reticulate::py_is_null_xptr(x)) {
    check_model(x, NULL)
  }
  NextMethod()
}
