#' Install the Python packages for kerasfit into their own environment
#'
#' Not needed where reticulate can download packages: kerasfit declares its requirements with
#' [reticulate::py_require()], and reticulate installs them when Python starts. Use this function
#' for a permanent environment with a name.
#'
#' @param envname Name or path of the virtual environment, which is created if it does not exist.
#'   kerasfit finds the default environment in later sessions; choose another one with
#'   [reticulate::use_virtualenv()].
#' @param backend One or more of `"tensorflow"`, `"jax"` and `"torch"`.
#' @param device `"cpu"`, or `"gpu"` for packages that also support NVIDIA GPUs, which are several
#'   gigabytes larger. See the section "GPUs" of [use_backend()].
#' @param extra_packages Further Python packages to install.
#' @param ... Passed to [reticulate::virtualenv_install()].
#' @return `envname`, invisibly.
#'
#' @section Errors: `kerasfit_error_argument` if an argument is invalid, or if a backend has no
#' packages for GPUs on this system. Nothing is installed then.
#' @examples
#' \dontrun{
#' install_kerasfit(backend = c("tensorflow", "jax"))
#' install_kerasfit(backend = "jax", device = "gpu")
#' }
#' @export
install_kerasfit <- function(
  envname = "r-kerasfit",
  backend = "tensorflow",
  device = c("cpu", "gpu"),
  extra_packages = NULL,
  ...
) {
  for (one in backend) {
    check_choice(one, names(backend_packages), "backend")
  }
  device <- check_choice(if (missing(device)) "cpu" else device, c("cpu", "gpu"), "device")
  if (device == "gpu") {
    check_gpu_packages(backend)
  }
  packages <- if (device == "gpu") gpu_packages else backend_packages
  if (!reticulate::virtualenv_exists(envname)) {
    reticulate::virtualenv_create(envname, version = ">=3.10", packages = NULL)
  }
  reticulate::virtualenv_install(
    envname,
    c(core_packages, unname(packages[backend]), extra_packages),
    ...
  )
  cli::cli_inform(c(
    v = "Python packages for kerasfit are in {.val {envname}}.",
    i = "Restart R if Python is running in this session."
  ))
  invisible(envname)
}

#' Raise an error if a backend has no packages for GPUs that pip can install on this system
#' @noRd
check_gpu_packages <- function(
  backend,
  system = Sys.info()[["sysname"]],
  call = rlang::caller_call()
) {
  supported <- switch(system, Linux = names(gpu_packages), Darwin = "torch")
  for (one in setdiff(backend, supported)) {
    abort_argument(
      "device",
      sprintf('`device` cannot be "gpu" with the backend "%s" on this system.', one),
      call,
      hint = gpu_elsewhere[[one]]
    )
  }
}
