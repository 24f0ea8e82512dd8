# Python objects that belong to another R session.

#' Check that a Python object was not restored from a saved workspace, `readRDS()` or another
#' process
#' @noRd
check_not_stale <- function(value, label, call, hint = "Create it again in this session.") {
  if (reticulate::py_is_null_xptr(value)) {
    abort_argument(
      argument_of(label),
      sprintf(
        "`%s` belongs to another R session: R cannot save or send Python objects.",
        label
      ),
      call,
      hint
    )
  }
  value
}

#' Check that a model belongs to this session and this process
#' @noRd
check_model <- function(object, call) {
  check_process(call)
  revive(object, call)
  check_not_stale(
    object,
    "object",
    call,
    c(
      paste(
        'Save it with `model$save("model.keras")`,',
        'and load it with `keras$models$load_model("model.keras")`.'
      ),
      paste(
        "R saves models that kerasfit has used, of Keras's own layers, losses and metrics,",
        "up to the size `options(kerasfit.saved_size = )`."
      )
    )
  )
  remember_state(object)
  object
}
