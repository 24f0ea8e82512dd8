#' Compare training histories
#'
#' Combines histories of different models or runs, to [plot][plot.kerasfit_history] them together or
#' to read them as one data frame. To join consecutive runs of one model, use
#' [c()][c.keras_training_history].
#'
#' @param ... Histories returned by [fit()][fit.keras.src.trainers.trainer.Trainer], with names, or
#'   one list of them. Histories without a name are numbered.
#' @return A list of histories of class `keras_training_histories`. `as.data.frame()` has the
#'   columns of [as.data.frame()][as.data.frame.kerasfit_history] for one history, and `run`, a
#'   factor of the names.
#' @section Errors: `kerasfit_error_argument` if there are no histories, or if an argument is not a
#' history.
#' @seealso [plot()][plot.kerasfit_history]
#' @examples
#' history <- function(loss) {
#'   structure(
#'     list(params = list(epoch = seq_along(loss)), metrics = list(loss = loss)),
#'     class = "keras_training_history"
#'   )
#' }
#' runs <- training_histories(small = history(c(0.9, 0.6, 0.5)), large = history(c(0.8, 0.4)))
#' as.data.frame(runs)
#' plot(runs, method = "base")
#' @export
training_histories <- function(...) {
  call <- sys.call()
  histories <- list(...)
  is_list <- function(x) inherits(x, "keras_training_histories") || is.list(x) && !is.object(x)
  if (length(histories) == 1 && is_list(histories[[1]])) {
    histories <- unclass(histories[[1]])
  }
  if (!length(histories)) {
    abort_argument("...", "training_histories() needs at least one history.", call)
  }
  other <- Filter(function(history) !inherits(history, "keras_training_history"), histories)
  if (length(other)) {
    abort_argument(
      "...",
      sprintf(
        "training_histories() takes histories returned by fit(), not %s.",
        describe(other[[1]])
      ),
      call
    )
  }
  as_histories(histories)
}

as_histories <- function(histories) {
  structure(stats::setNames(histories, run_names(histories)), class = "keras_training_histories")
}

#' Names of the runs to compare; numbers for those without a name
#' @noRd
run_names <- function(histories) {
  names <- rlang::names2(histories)
  names[!nzchar(names)] <- seq_along(histories)[!nzchar(names)]
  make.unique(names)
}

#' @export
`[.keras_training_histories` <- function(x, i) {
  structure(NextMethod(), class = class(x))
}

#' @export
as.data.frame.keras_training_histories <- function(x, row.names = NULL, optional = FALSE, ...) {
  runs <- run_names(x)
  data <- do.call(
    rbind,
    Map(
      function(history, run) {
        data <- as.data.frame(history)
        cbind(data, run = rep(factor(run, runs), nrow(data)))
      },
      unname(unclass(x)),
      runs
    )
  )
  rownames(data) <- NULL
  data
}

#' @export
format.keras_training_histories <- function(x, ...) {
  unlist(Map(
    function(history, run) c(paste0(run, ":"), paste0("  ", format(history))),
    unname(unclass(x)),
    names(x)
  ))
}

#' @export
print.keras_training_histories <- function(x, ...) {
  cat(format(x), sep = "\n")
  invisible(x)
}
