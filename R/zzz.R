# The Python modules. Both are promises: nothing Python loads before the first use.
core <- NULL
bridge <- NULL

.onLoad <- function(libname, pkgname) {
  require_python(default_backend())
  namespace <- topenv()
  python <- system.file("python", package = pkgname, lib.loc = libname)
  namespace$keras <- import_core("kerasfit.bridges.keras", python, convert = TRUE)
  namespace$core <- import_core("kerasfit", python)
  namespace$bridge <- import_core("kerasfit.bridges.reticulate", python)
  # keras3 registers methods for the same classes; whoever loads kerasfit wants these
  setHook(packageEvent("keras3", "onLoad"), function(...) register_methods())
}

#' Register kerasfit's methods for the classes that keras3 has methods for too
#' @noRd
register_methods <- function() {
  model <- "keras.src.models.model.Model"
  history <- "keras_training_history"
  methods <- list(
    fit = model, compile = model, evaluate = model, predict = model, summary = model,
    print = history, plot = history, as.data.frame = history
  )
  for (generic in names(methods)) {
    method <- get(paste0(generic, ".", methods[[generic]]), topenv(), mode = "function")
    registerS3method(generic, methods[[generic]], method, envir = topenv())
  }
}
