# The Python modules, and `keras`. They are promises: nothing Python loads before the first use.
core <- NULL
bridge <- NULL

.onLoad <- function(libname, pkgname) {
  processes$kerasfit <- Sys.getpid()
  require_python(default_backend())
  namespace <- topenv()
  python <- system.file("python", package = pkgname, lib.loc = libname)
  delayedAssign("keras", import_keras(python), assign.env = namespace)
  delayedAssign("core", import_core("kerasfit", python), assign.env = namespace)
  delayedAssign("bridge", import_core("kerasfit.bridges.reticulate", python), assign.env = namespace)
  setHook("reticulate.onPyInit", function(...) try(load_torch_library(python), silent = TRUE))
  # keras3 may load Keras, and models, before kerasfit's own Python is needed
  restore <- function(...) try(restore_schemas(python), silent = TRUE)
  setHook("reticulate::keras::load", restore)
  if (reticulate::py_available() && reticulate::py_eval("'keras' in __import__('sys').modules")) restore()
  # keras3 has methods for the same classes; whoever loads kerasfit wants these
  if (isNamespaceLoaded("keras3")) register_methods(asNamespace("keras3"))
  setHook(packageEvent("keras3", "onLoad"), function(...) register_methods(asNamespace("keras3")))
}

#' Register kerasfit's methods for those of a package's generics that keras3 has methods for too
#' @noRd
register_methods <- function(package) {
  model <- "keras.src.models.model.Model"
  history <- "keras_training_history"
  classes <- c(
    fit = model, compile = model, evaluate = model, predict = model, summary = model,
    print = history, plot = history, as.data.frame = history
  )
  for (generic in names(classes)) {
    if (exists(generic, package, mode = "function")) {
      method <- get(paste0(generic, ".", classes[[generic]]), topenv(), mode = "function")
      registerS3method(generic, classes[[generic]], method, envir = package)
    }
  }
}

#' Have models that are loaded from files know the data that they were trained on: `inst/python/kerasfit/saved_schema.py`
#' @noRd
restore_schemas <- function(python) {
  reticulate::import_from_path("saved_schema", file.path(python, "kerasfit"))$restore_when_loaded()
}

#' Stop an installation that would have no core, as where a checkout has lost its files
#' @param package The package's folder, as installed or, for pkgload, as source.
#' @noRd
check_core_files <- function(package) {
  folders <- file.path(package, c("python", "inst/python"), "kerasfit")
  if (!any(file.exists(file.path(folders, "__init__.py")))) {
    stop(
      "The Python core of kerasfit is missing: there is no file inst/python/kerasfit/__init__.py in the sources. ",
      "Install from a complete copy of them.",
      call. = FALSE
    )
  }
}

# here, R evaluates the code to install it
if (isNamespace(topenv())) check_core_files(getNamespaceInfo(topenv(), "path"))
