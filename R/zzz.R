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
