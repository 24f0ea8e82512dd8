# The fits of a cross-validation, in this process or in workers.

#' A fit for each setting and fold, with a seed that depends on neither order nor workers
#' @noRd
make_tasks <- function(folds, grid) {
  settings <- if (is.null(grid)) list(list()) else lapply(seq_len(nrow(grid)), setting_of, grid)
  tasks <- list()
  for (i in seq_along(settings)) {
    for (j in seq_len(nrow(folds))) {
      tasks[[length(tasks) + 1]] <- list(
        setting = settings[[i]],
        setting_number = i,
        `repeat` = folds[["repeat"]][[j]],
        fold = folds$fold[[j]],
        inside = folds$inside[[j]],
        held_out = folds$held_out[[j]]
      )
    }
  }
  seeds <- sample.int(.Machine$integer.max, length(tasks))
  Map(function(task, seed) c(task, seed = seed), tasks, seeds)
}

setting_of <- function(row, grid) {
  lapply(grid, function(column) {
    if (is.factor(column)) as.character(column[[row]]) else column[[row]]
  })
}

fit_here <- function(tasks, shared, verbose) {
  bar <- if (verbose) cli::cli_progress_bar("Fitting", total = length(tasks))
  last <- NULL
  lapply(tasks, function(task) {
    answer <- fit_fold(task, shared, last)
    last <<- answer$model
    if (verbose) {
      cli::cli_progress_update(id = bar)
    }
    answer$model <- NULL
    answer
  })
}

#' Fit in the processes of `future::plan()`, or in some that end with this call
#' @noRd
fit_in_workers <- function(tasks, shared, env, workers, call) {
  for (name in c("x", "y", "sample_weight", "arguments")) {
    data_to_send(shared[[name]], name, call)
  }
  variables <- variables_of(list(shared$callbacks), env, list(), "callbacks", call)
  of_build <- variables_of(list(), env, list(shared$build), "build", call)
  variables$global <- c(variables$global, of_build$global)
  shared$variables <- variables
  shared$settings <- session_settings()
  shared$keras <- if (keras_is_loaded()) from_core(bridge$keras_settings())
  if (!is.null(workers)) {
    shared$session <- Sys.getpid()
    shared$pids <- tempfile("kerasfit-workers-")
    dir.create(shared$pids)
    before <- future::plan(future::multisession, workers = workers)
    finished <- FALSE
    on.exit({
      if (!finished) {
        tools::pskill(as.integer(dir(shared$pids)), tools::SIGKILL)
      }
      suppressWarnings(try(future::plan(before), silent = TRUE))
      unlink(shared$pids, recursive = TRUE)
    })
  }
  count <- min(future::nbrOfWorkers(), length(tasks))
  shared$cores <- max(1L, as.integer(future::availableCores()) %/% count)
  run <- function(task) asNamespace("kerasfit")$fit_in_worker(task, shared)
  environment(run) <- list2env(list(shared = shared), parent = globalenv())
  answers <- future.apply::future_lapply(
    tasks,
    run,
    future.seed = NULL,
    future.globals = FALSE,
    future.packages = "kerasfit"
  )
  finished <- TRUE
  answers
}

#' One fit. This runs in a worker.
#' @noRd
fit_in_worker <- function(task, shared) {
  if (!is.null(shared$pids) && Sys.getpid() != shared$session) {
    file.create(file.path(shared$pids, Sys.getpid()))
  }
  apply_settings(shared$settings, shared$cores)
  if (!is.null(shared$session) && is.null(processes$ends_with) && Sys.getpid() != shared$session) {
    processes$ends_with <- shared$session
    bridge$end_with(shared$session)
  }
  if (!is.null(shared$keras)) {
    bridge$apply_keras_settings(shared$keras)
  }
  shared$env <- receive_variables(shared$variables)
  answer <- fit_fold(task, shared, processes$last_model)
  processes$last_model <- answer$model
  answer$model <- NULL
  answer
}

#' Train and evaluate one model
#' @param last The model of the previous fit in this process.
#' @return A list: the history, metrics and predictions, or the error; the warnings; the seconds.
#' @noRd
fit_fold <- function(task, shared, last = NULL) {
  began <- proc.time()[[3]]
  warnings <- character()
  answer <- tryCatch(
    withCallingHandlers(
      fit_and_evaluate(task, shared, last),
      warning = function(warning) {
        warnings <<- c(warnings, conditionMessage(warning))
        invokeRestart("muffleWarning")
      }
    ),
    error = function(error) list(error = plain_error(error))
  )
  c(answer, list(warnings = warnings, seconds = proc.time()[[3]] - began))
}

fit_and_evaluate <- function(task, shared, last) {
  call <- quote(cross_validate())
  set_random_seed(task$seed)
  set.seed(task$seed, "Mersenne-Twister", "Inversion", "Rejection")
  model <- rlang::inject(shared$build(!!!task$setting))
  check_built(model, last, call)
  rows <- list(
    inside = task$inside,
    outside = task$held_out
  )
  x <- lapply(rows, function(some) take_rows(shared$x, some))
  y <- lapply(rows, function(some) take_rows(shared$y, some))
  weight <- lapply(rows, function(some) take_rows(shared$sample_weight, some))
  arguments <- shared$arguments
  if (is.null(arguments$validation_split)) {
    arguments$validation_data <- Filter(Negate(is.null), list(x$outside, y$outside, weight$outside))
  }
  history <- rlang::inject(fit(
    model,
    x$inside,
    y$inside,
    !!!arguments,
    sample_weight = weight$inside,
    callbacks = callbacks_from(shared$callbacks, shared$env),
    verbose = 0,
    view_metrics = FALSE
  ))
  metrics <- evaluate(
    model,
    x$outside,
    y$outside,
    sample_weight = weight$outside,
    batch_size = arguments$validation_batch_size %||% arguments$batch_size,
    verbose = 0
  )
  predictions <- stats::predict(model, x$outside, verbose = 0)
  list(history = history, metrics = metrics, predictions = predictions, model = model)
}

check_built <- function(model, last, call) {
  if (!inherits(model, "keras.src.trainers.trainer.Trainer")) {
    abort_argument(
      "build",
      sprintf("`build` must return a compiled Keras model, not %s.", describe(model)),
      call
    )
  }
  check_not_stale(model, "build", call, "Create the model inside `build`.")
  if (!is.null(last) && identical(reticulate::py_id(model), reticulate::py_id(last))) {
    abort_argument(
      "build",
      "`build` must return a new model each time, and it has returned the same one again.",
      call,
      "Create the model inside `build`: a model that is trained again knows the rows held out."
    )
  }
}
