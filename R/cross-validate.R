#' Cross-validate a model
#'
#' Trains a new model for each fold on the rows outside the fold, and evaluates it and predicts on
#' the rows of the fold. With `grid`, this is repeated for each of its settings.
#'
#' @param build A function that returns a new compiled model each time it is called. With `grid`, it
#'   is called with the settings as named arguments.
#' @param x,y Inputs and targets, as for [fit()][fit.keras.src.trainers.trainer.Trainer]: vectors,
#'   factors, matrices, arrays, data frames, or lists of these.
#' @param ... Further arguments for `fit()`, such as `epochs` and `batch_size`.
#' @param folds The number of folds; a vector with the fold of each row, where rows with `NA` are in
#'   all training sets; a list of the row numbers to leave out; or an object of the package rsample.
#'   The folds of a number have equal shares of each class if `y` is a factor or logical, and are
#'   random otherwise. Of rsample, the analysis rows are those that a fit trains on.
#' @param repeats How often to repeat the cross-validation, each time with other random folds.
#' @param groups A vector with the group of each row, such as a patient: no group is divided.
#' @param grid A data frame of settings, for example of [expand.grid()].
#' @param callbacks As for `fit()`. This code runs anew for each fit, so that fits do not share
#'   callbacks: `callbacks = callback_early_stopping(patience = 3)`. Or a function without arguments
#'   that returns callbacks.
#' @param sample_weight Weights of the rows, for training and evaluation.
#' @param workers The number of R processes that train at the same time; each uses its share of the
#'   processor cores. 1: this process. `NULL`: those of [future::plan()], which stay for the next
#'   call. Processes begin by loading Keras, which takes some seconds.
#' @param seed A whole number: the same seed gives the same folds and, up to rounding, the same
#'   results with any number of workers. If `NULL`, it is drawn from R's random generator, so that
#'   [set.seed()] makes it reproducible. The random generators of the session are otherwise
#'   unchanged.
#' @param verbose Whether to show a progress bar, with `workers = 1`.
#'
#' @details The held-out rows are the validation data of `fit()`, so that histories have `val_loss`;
#'   they do not influence the weights, unless callbacks use them. For early stopping, use
#'   `validation_split = 0.1` instead: then a part of the training rows is the validation data, and
#'   the held-out rows measure only the result.
#'
#'   In workers, `build` and `callbacks` see copies of the variables and functions that they use,
#'   and the packages of this session are attached.
#' @return An object of class `keras_cross_validation`, a list of:
#'   \describe{
#'     \item{metrics}{A data frame with a row for each fit: the settings, `repeat`, `fold`, the
#'       metrics on the held-out rows, `seconds`, and `error`, which is NA for fits that succeeded.
#'       A metric with the name of a setting gets the ending `_metric`.}
#'     \item{predictions}{The predictions for the held-out rows, in the order of the rows of `x`:
#'       as from `predict()`; NA for rows that no fold holds out, or whose fit failed; the mean for
#'       rows that several folds hold out. With several settings or repeats, a list of these, one
#'       for each row of `runs`.}
#'     \item{runs}{A data frame with the settings and repeats.}
#'     \item{histories}{A list with the history of each fit, NULL where it failed.}
#'     \item{folds, seed}{The rows held out by each fit, and the seed.}
#'   }
#'   Its methods: `print()` and `summary()` give the mean and the standard deviation over the folds;
#'   `as.data.frame()` gives the histories with the settings, repeat and fold; `plot()` shows them.
#'
#' @section Errors: An error in one fit becomes a warning; the other fits continue. If all fits
#'   fail, the first error is raised. Invalid arguments are errors of class
#'   `kerasfit_error_argument`, before the first fit. `workers` other than 1 needs the packages
#'   future.apply and globals.
#' @examplesIf kerasfit:::has_keras()
#' build <- function(units = 8) {
#'   model <- keras$Sequential(list(
#'     keras$layers$Dense(as.integer(units), activation = "relu"),
#'     keras$layers$Dense(3L, activation = "softmax")
#'   ))
#'   model |> compile("adam", "sparse_categorical_crossentropy", metrics = "accuracy")
#' }
#' x <- scale(as.matrix(iris[1:4]))
#' cv <- cross_validate(build, x, iris$Species, folds = 3, epochs = 20)
#' cv
#' table(iris$Species, levels(iris$Species)[max.col(cv$predictions)])
#' plot(cv)
#'
#' grid <- data.frame(units = c(2, 8))
#' cross_validate(build, x, iris$Species, folds = 3, epochs = 20, grid = grid)
#' @export
cross_validate <- function(
  build,
  x,
  y,
  ...,
  folds = 10,
  repeats = 1,
  groups = NULL,
  grid = NULL,
  callbacks = NULL,
  sample_weight = NULL,
  workers = 1,
  seed = NULL,
  verbose = interactive()
) {
  call <- user_call("cross_validate")
  callbacks <- rlang::enquo(callbacks)
  arguments <- collect_dots(...)
  check_fit_arguments(arguments, call, given = c("validation_data", "sample_weight"))
  check_build(build, grid, call)
  rows <- count_rows(x, "x", call)
  check_same_rows(list(y = y, groups = groups, sample_weight = sample_weight), rows, call)
  check_workers(workers, call)
  check_process(call)
  seed <- check_seed(seed %||% sample.int(.Machine$integer.max, 1), call)
  keeping_random_states({
    set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
    folds <- make_folds(folds, repeats, rows, y, groups, call)
    tasks <- make_tasks(folds, grid)
    shared <- list(
      build = build,
      x = x,
      y = y,
      sample_weight = sample_weight,
      arguments = arguments,
      callbacks = rlang::quo_get_expr(callbacks)
    )
    began <- proc.time()[[3]]
    answers <- if (identical(as.numeric(workers), 1)) {
      shared$env <- rlang::quo_get_env(callbacks)
      fit_here(tasks, shared, verbose)
    } else {
      fit_in_workers(tasks, shared, rlang::quo_get_env(callbacks), workers, call)
    }
  })
  seconds <- proc.time()[[3]] - began
  result <- new_cross_validation(answers, tasks, grid, folds, rows, seed, seconds, y)
  report_failures(answers, result, call)
  result
}

#' Run code, and restore R's and Python's random generators afterwards
#' @noRd
keeping_random_states <- function(code) {
  state <- r_random_state()
  python <- if (keras_is_loaded()) bridge$random_states()
  on.exit({
    if (is.null(state)) {
      suppressWarnings(rm(".Random.seed", envir = globalenv()))
    } else {
      assign(".Random.seed", state, globalenv())
    }
    if (!is.null(python)) bridge$put_random_states(python)
  })
  code
}

# ---- arguments -----------------------------------------------------------------------------------

check_build <- function(build, grid, call) {
  if (!is.function(build) || reticulate::is_py_object(build)) {
    abort_argument(
      "build",
      sprintf("`build` must be a function that returns a compiled model, not %s.", describe(build)),
      call,
      "Each fold needs a new model: one that is trained again would know the rows held out."
    )
  }
  if (is.null(grid)) {
    return(invisible())
  }
  if (!is.data.frame(grid) || !nrow(grid)) {
    abort_argument(
      "grid",
      sprintf("`grid` must be a data frame with a row for each setting, not %s.", describe(grid)),
      call
    )
  }
  taken <- names(formals(args(build)))
  reserved <- c("repeat", "fold", "seconds", "error", "epoch", "value", "metric", "data")
  if (length(other <- intersect(names(grid), reserved))) {
    abort_argument(
      "grid",
      sprintf("`grid` must not have a column named `%s`, which results have.", other[[1]]),
      call
    )
  }
  unknown <- setdiff(names(grid), taken)
  if (length(unknown) && !"..." %in% taken) {
    abort_argument(
      "grid",
      sprintf("`grid` has the column `%s`, which `build` has no argument for.", unknown[[1]]),
      call
    )
  }
}

check_workers <- function(workers, call) {
  if (is.null(workers) || (is_whole(workers) && length(workers) == 1 && workers >= 1)) {
    if (!identical(as.numeric(workers), 1)) {
      rlang::check_installed(c("future.apply", "globals"), "for several fits at the same time.")
    }
    return(invisible())
  }
  abort_argument(
    "workers",
    sprintf("`workers` must be a whole number, at least 1, or NULL, not %s.", describe(workers)),
    call
  )
}

#' The number of rows of data, or of the first part of a list
#' @noRd
count_rows <- function(value, argument, call) {
  if (is.list(value) && !is.object(value) && length(value)) {
    rows <- vapply(value, count_rows, numeric(1), argument, call)
    if (length(unique(rows)) > 1) {
      message <- "The parts of `%s` must have the same number of rows, not %s."
      abort_argument(argument, sprintf(message, argument, toString(unique(rows))), call)
    }
    return(rows[[1]])
  }
  if (is.function(value) || reticulate::is_py_object(value) || !length(value)) {
    abort_argument(
      argument,
      sprintf(
        "`%s` must be a vector, matrix, array or data frame, not %s.",
        argument,
        describe(value)
      ),
      call,
      "Cross-validation takes rows of it."
    )
  }
  if (is.null(dim(value))) length(value) else nrow(value)
}

check_same_rows <- function(values, rows, call) {
  for (name in names(values)) {
    if (!is.null(values[[name]]) && count_rows(values[[name]], name, call) != rows) {
      abort_argument(
        name,
        sprintf(
          "`%s` has %d rows, and `x` has %d.",
          name,
          count_rows(values[[name]], name, call),
          rows
        ),
        call
      )
    }
  }
}

#' Take rows of data, or of each part of a list
#' @noRd
take_rows <- function(value, rows) {
  if (is.null(value)) {
    NULL
  } else if (is.list(value) && !is.object(value)) {
    lapply(value, take_rows, rows)
  } else if (is.null(dim(value))) {
    value[rows]
  } else {
    all <- rep(list(quote(expr = )), length(dim(value)) - 1)
    rlang::inject(value[rows, !!!all, drop = FALSE])
  }
}
