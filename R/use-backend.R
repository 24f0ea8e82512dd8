#' Choose the backend that Keras computes with
#'
#' Must be called before Keras loads, that is before the first use of [keras] or of a model; a backend cannot be
#' changed in a running session. Without it, Keras takes the backend in the environment variable `KERAS_BACKEND`,
#' and TensorFlow if there is none.
#'
#' With `"torch"` on Linux, `library(kerasfit)` and the choice of the backend should come before anything else that uses
#' Python. PyTorch's library takes R's BLAS for its own otherwise, which may take ten times as long; a warning says so.
#'
#' @param backend `"tensorflow"`, `"jax"` or `"torch"`.
#' @return `backend`, invisibly.
#' @section Errors: `kerasfit_error_argument` if there is no such backend, `kerasfit_error_state` if Keras has
#'   loaded already with another one.
#' @examples
#' \dontrun{
#' library(kerasfit)
#' use_backend("jax")
#' keras$backend$backend()
#' }
#' @export
use_backend <- function(backend = c("tensorflow", "jax", "torch")) {
  backend <- check_choice(if (missing(backend)) "tensorflow" else backend, names(backend_packages))
  if (keras_is_loaded()) {
    loaded <- keras$backend$backend()
    if (loaded != backend) {
      abort_kerasfit(
        c(
          sprintf('The backend cannot become "%s": Keras has loaded with "%s" already.', backend, loaded),
          i = "Restart R and call `use_backend()` before anything that uses Keras."
        ),
        kind = "state"
      )
    }
    return(invisible(backend))
  }
  set_python_environment("KERAS_BACKEND", backend)
  require_python(backend)
  invisible(backend)
}

#' The backend that Keras will load with if nobody chooses one
#' @noRd
default_backend <- function() {
  backend <- Sys.getenv("KERAS_BACKEND")
  if (nzchar(backend)) backend else "tensorflow"
}

backend_packages <- c(tensorflow = "tensorflow>=2.17", jax = "jax>=0.4.30", torch = "torch>=2.4")
core_packages <- c("keras>=3.9", "numpy>=1.26", "pandas>=2.0")

#' Declare what Python needs, for reticulate to provide where no environment has been chosen
#' @noRd
require_python <- function(backend) {
  if (reticulate::py_available()) {
    return()
  }
  chosen <- names(backend_packages) == backend
  reticulate::py_require(unname(backend_packages[!chosen]), action = "remove")
  reticulate::py_require(c(core_packages, unname(backend_packages[chosen])), python_version = ">=3.10")
}
