#' An object of Python's, unless it came with a saved workspace, from `readRDS()` or from another process
#' @noRd
check_not_stale <- function(value, label, call, hint = "Make it anew in this session.") {
  if (reticulate::py_is_null_xptr(value)) {
    abort_argument(
      argument_of(label),
      sprintf(
        "`%s` belongs to another R session: R does not save or send what Python holds.",
        label
      ),
      call,
      hint
    )
  }
  value
}

#' A model, unless it is of another session
#' @noRd
check_model <- function(object, call) {
  check_process(call)
  check_not_stale(
    object,
    "object",
    call,
    paste(
      'A model is saved by `model$save("model.keras")` there, and comes back by `keras$models$load_model("model.keras")` here.'
    )
  )
}
