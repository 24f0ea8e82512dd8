# The Python modules, `keras` and `tuple` are promises: neither Python nor reticulate is loaded
# before their first use. Loading reticulate takes several times as long as the rest of kerasfit.

core <- NULL
bridge <- NULL

.onLoad <- function(libname, pkgname) {
  processes$kerasfit <- Sys.getpid()
  namespace <- topenv()
  python <- system.file("python", package = pkgname, lib.loc = libname)
  delayedAssign("keras", import_keras(python), assign.env = namespace)
  delayedAssign("tuple", reticulate::tuple, assign.env = namespace)
  delayedAssign("core", import_core_functions("kerasfit", python), assign.env = namespace)
  delayedAssign(
    "bridge",
    import_core_functions("kerasfit.bridges.reticulate", python),
    assign.env = namespace
  )
  setHook("reticulate.onPyInit", function(...) try(load_torch_library(python), silent = TRUE))
  # keras3 may load Keras and models before kerasfit needs Python
  restore <- function(...) try(restore_schemas(python), silent = TRUE)
  setHook("reticulate::keras::load", restore)
  with_reticulate <- function(...) {
    require_python(default_backend())
    if (keras_is_loaded()) restore()
  }
  if (isNamespaceLoaded("reticulate")) {
    with_reticulate()
  } else {
    setHook(packageEvent("reticulate", "onLoad"), with_reticulate)
  }
  if (isNamespaceLoaded("keras3")) {
    share_with_keras3(namespace)
  }
  setHook(packageEvent("keras3", "onLoad"), function(...) {
    require_python(default_backend()) # without the backend, which keras3 declares itself
    if (is_attached("kerasfit")) register_with_keras3("kerasfit")
  })
  setHook(packageEvent("keras3", "attach"), function(...) {
    if (is_attached("kerasfit")) announce_epoch_numbering()
  })
  # methods for saved histories of keras3, if it is not installed and cannot register its own
  if (!nzchar(system.file(package = "keras3"))) {
    for (generic in c("print", "plot", "as.data.frame")) {
      method <- get(paste0(generic, ".kerasfit_history"), namespace)
      registerS3method(generic, "keras_training_history", method, envir = namespace)
    }
  }
}

.onAttach <- function(libname, pkgname) {
  if (isNamespaceLoaded("keras3")) {
    register_with_keras3("kerasfit")
  }
  if (is_attached("keras3")) announce_epoch_numbering()
}

.onDetach <- function(libpath) {
  if (isNamespaceLoaded("keras3")) register_with_keras3("keras3")
}

is_attached <- function(package) paste0("package:", package) %in% search()

#' Make keras3's generics use the methods of a package for models
#'
#' keras3 has methods for models, and kerasfit has methods for the class that these inherit from, so
#' that neither overwrites the other's on loading. Users who attach kerasfit expect its methods.
#' @param package "kerasfit" or "keras3".
#' @noRd
register_with_keras3 <- function(package) {
  model <- "keras.src.models.model.Model"
  class <- c(kerasfit = "keras.src.trainers.trainer.Trainer", keras3 = model)[[package]]
  for (generic in c("fit", "compile", "evaluate", "predict")) {
    method <- get0(
      paste0(generic, ".", class),
      asNamespace(package),
      mode = "function",
      inherits = FALSE
    )
    if (is.null(method) || !exists(generic, asNamespace("keras3"), mode = "function")) {
      next
    }
    registerS3method(generic, model, method, envir = asNamespace("keras3"))
  }
}

#' Export functions of keras3 that are the same as kerasfit's, so that neither masks the other
#' @noRd
share_with_keras3 <- function(namespace) {
  for (name in intersect("evaluate", getNamespaceExports("keras3"))) {
    assign(name, getExportedValue("keras3", name), namespace)
  }
}

announce_epoch_numbering <- function() {
  packageStartupMessage(
    "While keras3 is attached, `callback_learning_rate_scheduler()` counts epochs from 0, ",
    "as keras3 does. ",
    "Without keras3, or with `first_epoch = 1`, it counts from 1."
  )
}

#' Restore the levels and columns of models that are loaded from files, see
#' `inst/python/kerasfit/data/saved_schema.py`
#' @noRd
restore_schemas <- function(python) {
  folder <- file.path(python, "kerasfit", "data")
  reticulate::import_from_path("saved_schema", folder)$restore_when_loaded()
}

#' Stop an installation without the Python core, for example from an incomplete checkout
#' @param package The package's folder: as installed or, for pkgload, as source.
#' @noRd
check_core_files <- function(package) {
  folders <- file.path(package, c("python", "inst/python"), "kerasfit")
  if (!any(file.exists(file.path(folders, "__init__.py")))) {
    stop(
      "The Python core of kerasfit is missing: ",
      "the sources have no file inst/python/kerasfit/__init__.py. ",
      "Install from a complete copy of the sources.",
      call. = FALSE
    )
  }
}

# true while R evaluates this code to install the package
if (isNamespace(topenv())) {
  check_core_files(getNamespaceInfo(topenv(), "path"))
}
