#' Choose the backend of Keras
#'
#' Call this before Keras loads, which is at the first use of [keras] or of a model. The backend
#' cannot be changed in a running session. Without this call, Keras uses the backend in the
#' environment variable `KERAS_BACKEND`, or TensorFlow if it is not set.
#'
#' With `"torch"` on Linux, call `library(kerasfit)` and `use_backend()` before anything else that
#' uses Python. Otherwise PyTorch uses R's BLAS, which may be ten times slower; kerasfit warns about
#' it.
#'
#' @param backend `"tensorflow"`, `"jax"` or `"torch"`.
#' @param gpu Whether to use a GPU. `NA`: if the backend finds one. `FALSE`: no. `TRUE`: yes; if
#'   reticulate installs the Python packages, it installs those for NVIDIA GPUs (on Linux only). See
#'   the section "GPUs".
#' @return `backend`, invisibly.
#'
#' @section GPUs:
#' A backend uses the first GPU that it finds, and the CPU if it finds none. [kerasfit_sitrep()]
#' lists the devices that it has found. No other change to your code is needed.
#'
#' * **NVIDIA, on Linux** (and in the Windows Subsystem for Linux, WSL2): the driver must be
#'   installed, and the packages of the backend must be those for CUDA. Call
#'   `use_backend("jax", gpu = TRUE)` before Keras loads, and reticulate installs them; or install
#'   them permanently with `install_kerasfit(backend = "jax", device = "gpu")`. The declarations for
#'   reticulate are `py_require("jax[cuda12]")`, `py_require("tensorflow[and-cuda]")` and
#'   `py_require("torch")`, whose package for Linux includes CUDA.
#' * **NVIDIA, on Windows**: with PyTorch only. Install `torch` from the index that the page "Start
#'   locally" of pytorch.org names for your version of CUDA:
#'   `install_kerasfit(backend = "torch", pip_options = "--extra-index-url ...")`.
#' * **Apple**: PyTorch uses the GPU of Macs with Apple silicon without further packages. TensorFlow
#'   and JAX use the CPU.
#'
#' To choose one of several GPUs, set `CUDA_VISIBLE_DEVICES` before Keras loads:
#' `Sys.setenv(CUDA_VISIBLE_DEVICES = "1")` is the second GPU. `use_backend(gpu = FALSE)` hides all.
#' With `keras$mixed_precision$set_dtype_policy("mixed_float16")`, called before the model is built,
#' layers compute with 16-bit numbers, which is faster on recent GPUs. The options `kerasfit.plan`
#' and `kerasfit.kernels` need not be changed: what kerasfit replaces for speed on CPUs is not used
#' on GPUs.
#'
#' Arrays stay in the GPU's memory during a run if they take at most half of what is free (with
#' TensorFlow: at most 2 GB). Larger ones are copied to it batch by batch.
#'
#' @section Compiled programs:
#' Programs that TensorFlow and JAX compile are kept for the next session in the folder
#' `kerasfit-programs`, which kerasfit creates in `tools::R_user_dir("kerasfit", "cache")`. To
#' create it in another folder, set `options(kerasfit.cache = )` or the environment variable
#' `KERASFIT_CACHE` before Keras loads; `options(kerasfit.cache = FALSE)` turns this off. JAX before
#' 0.6 runs stored programs incorrectly, so with these versions training steps are always compiled
#' again.
#'
#' When Keras loads, kerasfit deletes programs that were not used for 60 days, damaged ones, and the
#' least recently used ones beyond 500 MB. It never deletes anything else: no files outside
#' `kerasfit-programs`, and in it only your files with names in the format of TensorFlow and JAX.
#' Links are not followed. You may delete the folder at any time.
#'
#' A compiled program is code that will run. Therefore the folder is not used if users other than
#' you can write to it or to its parent, if it belongs to another user, if it is a link, or if a
#' file, not a folder, has that name. `fit()`, [evaluate()] or
#' [predict()][predict.keras.src.trainers.trainer.Trainer] then warn once and compile without the
#' folder. Windows has no such permissions, so they are not checked there.
#'
#' @section Environment variables:
#' When Keras loads, kerasfit sets environment variables for itself and the backend. They last as
#' long as the session, and child processes inherit them:
#'
#' * `KERAS_BACKEND`: the backend.
#' * `KERASFIT_CACHE`: the folder that contains `kerasfit-programs`, or an empty string.
#' * `TF_CPP_MIN_LOG_LEVEL`: 3 if it was not set, so that TensorFlow and JAX write nothing to the
#'   console.
#' * `TF_XLA_FLAGS`, with TensorFlow: the flag for the folder of compiled programs is added. Child
#'   sessions that use kerasfit ignore this flag.
#' * `CUDA_VISIBLE_DEVICES`, `JAX_PLATFORMS` or `KERAS_TORCH_DEVICE`, after
#'   `use_backend(gpu = FALSE)`: these hide GPUs from the backend.
#'
#' @section With the package keras3:
#' If keras3 is loaded, its `use_backend()` declares the Python packages, so that only one
#' TensorFlow is installed.
#'
#' @section Errors: `kerasfit_error_argument` if the backend does not exist, `kerasfit_error_state`
#' if Keras has already loaded with another one.
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
            'The backend cannot be changed to "%s": Keras has already loaded with "%s".',
            backend,
            loaded
          ),
          i = "Restart R and call `use_backend()` before anything else that uses Keras."
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

#' The environment variables that hide GPUs from each backend
#' @noRd
hiding_variables <- list(
  tensorflow = list(CUDA_VISIBLE_DEVICES = "-1"),
  jax = list(JAX_PLATFORMS = "cpu"),
  torch = list(CUDA_VISIBLE_DEVICES = "-1", KERAS_TORCH_DEVICE = "cpu")
)

#' Set the environment variables that hide GPUs from a backend, or unset them for `gpu = TRUE`
#' @noRd
hide_gpus <- function(backend, gpu) {
  hiding <- hiding_variables[[backend]]
  for (name in names(hiding)) {
    if (isFALSE(gpu)) {
      set_python_environment(name, hiding[[name]])
    } else if (isTRUE(gpu) && identical(Sys.getenv(name), hiding[[name]])) {
      Sys.unsetenv(name)
      if (reticulate::py_available()) reticulate::import("os")$environ$pop(name, NULL)
    }
  }
}

#' The backend that Keras loads if none is chosen
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

#' What to do for a GPU on systems other than Linux
#' @noRd
gpu_elsewhere <- c(
  tensorflow = "TensorFlow uses NVIDIA GPUs on Linux only. On Windows, run R in WSL2.",
  jax = "JAX uses NVIDIA GPUs on Linux only. On Windows, run R in WSL2.",
  torch = paste(
    "On Windows, install the package torch with CUDA from the index that the page",
    "\"Start locally\" of pytorch.org names:",
    "`install_kerasfit(backend = \"torch\", pip_options = \"--extra-index-url ...\")`."
  )
)
core_packages <- c("keras>=3.9", "numpy>=1.26", "pandas>=2.0")

#' Declare the Python packages for reticulate to install, where no Python environment has been
#' chosen
#'
#' If keras3 is loaded, it declares the package of the backend itself, for example tensorflow-cpu.
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
