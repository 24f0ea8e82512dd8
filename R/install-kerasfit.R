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
#' @param extra_packages Further Python packages to install.
#' @param ... Passed to [reticulate::virtualenv_install()].
#' @return `envname`, invisibly.
#' @examples
#' \dontrun{
#' install_kerasfit(backend = c("tensorflow", "jax"))
#' }
#' @export
install_kerasfit <- function(
  envname = "r-kerasfit",
  backend = "tensorflow",
  extra_packages = NULL,
  ...
) {
  for (one in backend) {
    check_choice(one, names(backend_packages), "backend")
  }
  if (!reticulate::virtualenv_exists(envname)) {
    reticulate::virtualenv_create(envname, version = ">=3.10", packages = NULL)
  }
  reticulate::virtualenv_install(
    envname,
    c(core_packages, unname(backend_packages[backend]), extra_packages),
    ...
  )
  cli::cli_inform(c(
    v = "Python packages for kerasfit are in {.val {envname}}.",
    i = "Restart R if Python is running in this session."
  ))
  invisible(envname)
}
