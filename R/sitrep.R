#' Report versions, devices and settings
#'
#' Collects what a bug report needs: the versions of R, Python and their packages, the backend and
#' its devices, the number of threads, the folder for compiled programs, and environment variables
#' that change how training runs. Problems are listed at the end, each with what to do about it.
#'
#' Python and Keras are loaded if they are not loaded yet. If that fails, the report says why.
#'
#' @return A list of class `kerasfit_sitrep`, which prints as text. Its elements are `r` (R's
#'   version, system and packages), `core` (a list of what Python reported, or `NULL` if Keras
#'   cannot be loaded) and `problems` (a data frame with the columns `problem` and `remedy`).
#' @seealso [use_backend()] for the choice of a backend and of a GPU, [install_kerasfit()].
#' @examplesIf kerasfit:::has_keras()
#' kerasfit_sitrep()
#' @export
kerasfit_sitrep <- function() {
  problems <- list()
  core <- tryCatch(from_core(bridge$installation()), error = function(error) {
    message <- cnd_lines(error)
    problems <<- list(new_problem(message[[1]], paste(message[-1], collapse = " ")))
    NULL
  })
  if (!is.null(core)) {
    problems <- c(old_packages(core), unused_gpu(core), other_problems(core))
  }
  problems <- do.call(rbind, problems)
  structure(
    list(
      r = r_installation(),
      core = core,
      problems = problems %||% new_problem(character(), character())
    ),
    class = "kerasfit_sitrep"
  )
}

#' @export
print.kerasfit_sitrep <- function(x, ...) {
  writeLines(format(x, ...))
  invisible(x)
}

#' @export
format.kerasfit_sitrep <- function(x, ...) {
  core <- x$core
  about_core <- if (!is.null(core)) {
    programs <- core$programs
    c(
      Python = sprintf("%s (%s)", core$python$version, core$python$executable),
      "Python packages" = with_versions(core$packages),
      Backend = core$backend,
      "Backends installed" = with_versions(core$backends),
      Devices = paste(core$devices, collapse = ", "),
      "NVIDIA driver" = if (length(core$nvidia)) paste(core$nvidia, collapse = "; "),
      "CPU cores" = format(core$cores),
      "Threads" = if (is.null(core$threads)) "chosen by the backend" else format(core$threads),
      "Compiled programs" = if (is.null(programs$folder)) {
        "not kept"
      } else {
        sprintf("%s (%d files, %.0f MB)", programs$folder, programs$number, programs$bytes / 1e6)
      },
      "Environment" = paste0(
        names(core$variables),
        "=",
        unlist(core$variables),
        collapse = paste0("\n", strrep(" ", 20))
      )
    )
  }
  fields <- c(
    R = x$r$version,
    System = x$r$system,
    "R packages" = with_versions(x$r$packages),
    about_core
  )
  problems <- if (nrow(x$problems)) {
    c("Problems:", rbind(paste("*", x$problems$problem), paste(" ", x$problems$remedy)))
  } else {
    "No problems found."
  }
  c(paste0(formatC(paste0(names(fields), ":"), width = -20), fields), "", problems)
}

with_versions <- function(versions) paste(names(versions), unlist(versions), collapse = ", ")

r_installation <- function() {
  packages <- c("kerasfit", "reticulate", "keras3", "tensorflow", "ggplot2", "plotly", "shiny")
  packages <- packages[nzchar(lapply(packages, function(name) system.file(package = name)))]
  list(
    version = R.version.string,
    system = sprintf(
      "%s (%s), %s",
      utils::osVersion,
      R.version$platform,
      Sys.getlocale("LC_CTYPE")
    ),
    packages = lapply(stats::setNames(nm = packages), function(name) {
      as.character(utils::packageVersion(name))
    })
  )
}

new_problem <- function(problem, remedy) data.frame(problem = problem, remedy = remedy)

#' The lines of an error's message without their bullets
#' @noRd
cnd_lines <- function(error) {
  message <- cli::ansi_strip(rlang::cnd_message(error))
  sub("^[^[:alnum:]`\"]+ ", "", strsplit(message, "\n", fixed = TRUE)[[1]])
}

#' Problems with packages that are older than kerasfit requires
#' @noRd
old_packages <- function(core) {
  installed <- unlist(c(core$packages, core$backends))
  required <- strsplit(c(core_packages, backend_packages[[core$backend]]), ">=", fixed = TRUE)
  lapply(required, function(one) {
    version <- installed[one[[1]]]
    if (!is.na(version) && utils::compareVersion(sub("[^0-9.].*", "", version), one[[2]]) < 0) {
      new_problem(
        sprintf("The Python package %s is version %s.", one[[1]], version),
        sprintf("kerasfit needs %s or later: `%s`.", one[[2]], install_call(core$backend))
      )
    }
  })
}

#' The problem that the backend does not use an NVIDIA GPU, if there is one
#' @noRd
unused_gpu <- function(core, system = Sys.info()[["sysname"]]) {
  if (!length(core$nvidia) || !all(grepl("^CPU", core$devices))) {
    return()
  }
  hiding <- unlist(hiding_variables[[core$backend]])
  hiding <- hiding[names(hiding) %in% names(core$variables)]
  hidden_by <- names(hiding)[unlist(core$variables[names(hiding)]) == hiding]
  remedy <- if (length(hidden_by)) {
    sprintf(
      "It is hidden by %s. In a new session, call `use_backend(\"%s\", gpu = TRUE)`.",
      paste(hidden_by, collapse = " and "),
      core$backend
    )
  } else if (system == "Linux") {
    sprintf(
      "Install packages that support it: `install_kerasfit(backend = \"%s\", device = \"gpu\")`.",
      core$backend
    )
  } else {
    gpu_elsewhere[[core$backend]]
  }
  list(new_problem("The computer has an NVIDIA GPU, but the backend does not use it.", remedy))
}

other_problems <- function(core) {
  list(
    if (!load_torch_library(system.file("python", package = "kerasfit"))) {
      new_problem(
        sprintf("PyTorch uses R's BLAS (%s), which may be slow.", extSoftVersion()[["BLAS"]]),
        "Restart R and call `use_backend(\"torch\")` before anything that uses Python."
      )
    },
    if (!is.null(core$programs$refusal)) {
      new_problem(
        paste("Compiled programs are not kept:", core$programs$refusal),
        "Choose another folder with `options(kerasfit.cache = )`."
      )
    }
  )
}
