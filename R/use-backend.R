#' Choose the backend that Keras computes with
#'
#' Must be called before Keras loads, that is before the first use of [keras] or of a model; a backend cannot be
#' changed in a running session. Without it, Keras takes the backend in the environment variable `KERAS_BACKEND`,
#' and TensorFlow if there is none.
#'
#' With `"torch"` on Linux, `library(kerasfit)` and the choice of the backend should come before anything else that uses
#' Python. PyTorch's library takes R's BLAS for its own otherwise, which may take ten times as long; a warning says so.
#'
#' @section Compiled programs:
#' What TensorFlow and JAX compile is kept for the next session in the folder `kerasfit-programs`, which kerasfit makes in
#' `tools::R_user_dir("kerasfit", "cache")`. `options(kerasfit.cache = )` or the environment variable `KERASFIT_CACHE`, set
#' before Keras loads, names another folder to make it in; `options(kerasfit.cache = FALSE)` keeps nothing.
#' JAX before 0.6 has faults in running what it has kept, so training steps are compiled anew with it.
#'
#' When Keras loads, programs that were not used for 60 days are deleted, those that are damaged, and the least recently
#' used ones beyond 500 MB. Nothing else is ever deleted: no file outside `kerasfit-programs`, and in it only files of yours
#' whose names are as TensorFlow and JAX make them; links are not followed.
#'
#' A compiled program is code that will run. So the folder is not used if users other than you may write to it or to the one
#' that you name, if it belongs to another user, if it is a link, or if something else has its name. `fit()`, [evaluate()] or
#' [predict()][predict.keras.src.trainers.trainer.Trainer] then warn once and compile as if nothing had been kept. (Windows has no
#' such permissions; there they are not looked at.) The folder may be deleted at any time.
#'
#' @section Environment variables:
#' When Keras loads, kerasfit sets environment variables that it and the backend need as long as the session lasts.
#' Processes that are started from then on inherit them:
#' - with `use_backend(gpu = FALSE)`, what hides graphics cards from the backend: `CUDA_VISIBLE_DEVICES`, `JAX_PLATFORMS` or
#'   `KERAS_TORCH_DEVICE`;
#' - `KERAS_BACKEND`, the backend, and `KERASFIT_CACHE`, the folder in which `kerasfit-programs` is, or nothing;
#' - `TF_CPP_MIN_LOG_LEVEL`, 3 if it has not been set: TensorFlow and JAX write nothing to the console;
#' - `TF_XLA_FLAGS`, with TensorFlow: its own flag for the folder of compiled programs is added. Sessions of kerasfit that
#'   inherit it do not use it.
#'
#' @section With the package keras3:
#' Where keras3 is loaded, its `use_backend()` says which Python packages are wanted, so that there is one TensorFlow only.
#'
#' @param backend `"tensorflow"`, `"jax"` or `"torch"`.
#' @param gpu Whether to compute on a graphics card. `NA`: on one that the backend finds. `FALSE`: on none. `TRUE`: with Python
#'   packages for one, where reticulate installs them.
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
use_backend <- function(backend = c("tensorflow", "jax", "torch"), gpu = NA) {
  backend <- check_choice(if (missing(backend)) "tensorflow" else backend, names(backend_packages))
  if (!is.logical(gpu) || length(gpu) != 1) {
    abort_argument("gpu", sprintf("`gpu` must be TRUE, FALSE or NA, not %s.", describe(gpu)))
  }
  if (keras_is_loaded()) {
    loaded <- keras$backend$backend()
    if (loaded != backend) {
      abort_kerasfit(
        c(
          sprintf(
            'The backend cannot become "%s": Keras has loaded with "%s" already.',
            backend,
            loaded
          ),
          i = "Restart R and call `use_backend()` before anything that uses Keras."
        ),
        kind = "state"
      )
    }
    return(invisible(backend))
  }
  if (isNamespaceLoaded("keras3")) {
    keras3::use_backend(backend, gpu)
  }
  set_python_environment("KERAS_BACKEND", backend)
  hide_gpus(backend, gpu)
  require_python(backend, gpu)
  invisible(backend)
}

#' Set, for a backend, the environment variables that hide graphics cards from it; or unset those that would
#' @noRd
hide_gpus <- function(backend, gpu) {
  hiding <- list(
    tensorflow = list(CUDA_VISIBLE_DEVICES = "-1"),
    jax = list(JAX_PLATFORMS = "cpu"),
    torch = list(CUDA_VISIBLE_DEVICES = "-1", KERAS_TORCH_DEVICE = "cpu")
  )[[backend]]
  for (name in names(hiding)) {
    if (isFALSE(gpu)) {
      set_python_environment(name, hiding[[name]])
    } else if (isTRUE(gpu) && identical(Sys.getenv(name), hiding[[name]])) {
      Sys.unsetenv(name)
      if (reticulate::py_available()) reticulate::import("os")$environ$pop(name, NULL)
    }
  }
}

#' The backend that Keras will load with if nobody chooses one
#' @noRd
default_backend <- function() {
  backend <- Sys.getenv("KERAS_BACKEND")
  if (nzchar(backend)) backend else "tensorflow"
}

backend_packages <- c(tensorflow = "tensorflow>=2.17", jax = "jax>=0.5.3", torch = "torch>=2.4")
gpu_packages <- c(
  tensorflow = sub(
    "tensorflow",
    "tensorflow[and-cuda]",
    backend_packages[["tensorflow"]],
    fixed = TRUE
  ),
  jax = sub("jax", "jax[cuda12]", backend_packages[["jax"]], fixed = TRUE),
  torch = backend_packages[["torch"]]
)
core_packages <- c("keras>=3.9", "numpy>=1.26", "pandas>=2.0")

#' Declare what Python needs, for reticulate to provide where no environment has been chosen
#'
#' keras3 declares the backend itself where it is loaded, such as tensorflow-cpu.
#' @noRd
require_python <- function(backend, gpu = NA) {
  if (reticulate::py_available()) {
    return()
  }
  reticulate::py_require(unname(c(backend_packages, gpu_packages)), action = "remove")
  packages <- if (isTRUE(gpu) && Sys.info()[["sysname"]] == "Linux") {
    gpu_packages
  } else {
    backend_packages
  }
  own <- if (!isNamespaceLoaded("keras3")) packages[names(packages) == backend]
  reticulate::py_require(unname(c(core_packages, own)), python_version = ">=3.10")
}
