#' Train a model in another R process
#'
#' Returns at once, so that the session stays free while the model trains. [wait()] puts the trained
#' weights into the model.
#'
#' @param object A compiled Keras model.
#' @param x,y,... As for [fit()][fit.keras.src.trainers.trainer.Trainer]. R data and functions are
#'   copied to the other process. Python objects cannot be copied.
#' @param callbacks As for [fit()][fit.keras.src.trainers.trainer.Trainer]. The code of this
#'   argument runs in the other process, with copies of the variables that it uses. Write
#'   `callbacks = callback_early_stopping(patience = 3)` rather than the name of a callback that
#'   exists already. It may also be a function without arguments that returns callbacks, for example
#'   to pass them through a function of yours. Where this code names the model itself, it gets the
#'   one that is trained; a function made elsewhere may have a copy in its environment.
#' @param verbose What the other process prints: as for `fit()`. `wait(verbose = TRUE)` and
#'   `job$output()` show it.
#' @return An object of class `BackgroundFit`. Printing it shows the progress. It has these methods:
#'   \describe{
#'     \item{`$status()`}{`"starting"`, `"training"`, `"ended"`, `"stopped"`, by `stop_training()`,
#'       or `"failed"`.}
#'     \item{`$history()`}{The [keras_training_history] of the epochs so far.}
#'     \item{`$progress()`}{A list: `epoch`, `epochs`, `step`, `steps`, and the estimated seconds
#'       until the end, `left`; NULL where unknown.}
#'     \item{`$output()`}{The lines that the process has printed.}
#'     \item{`$model()`}{A new model with the trained weights, after the end.}
#'     \item{`$wait()`, `$stop()`}{The same as `wait()` and `stop_training()`.}
#'   }
#'
#' @section What is the same as in `fit()`:
#' The model is sent with the state of its optimizer and its random generators, and the session's
#' random generators are copied, so that the results are those that `fit()` would have had. The
#' generators of this session then advance, so that two background fits do not use the same random
#' numbers. Layers, losses and metrics of your own must be classes in a Python module that the other
#' process can import; R functions as losses or metrics are an error.
#'
#' @section If something ends early:
#' An error in the other process, or its end by the system, leaves the model in this session
#' unchanged, and [wait()] raises an error. The process ends with this session. To continue such a
#' run, use [callback_backup_and_restore()] and call `fit_background()` again, also in a new
#' session.
#'
#' In a [Shiny][shiny::shiny] app, [render_training()] shows the progress of a background fit.
#' @section Errors: `kerasfit_error_argument` if an argument cannot be sent to another process. The
#'   packages callr and globals must be installed.
#' @seealso [cross_validate()] for many fits at the same time.
#' @examplesIf kerasfit:::has_keras() && rlang::is_installed(c("callr", "globals"))
#' model <- keras$Sequential(list(keras$Input(list(4L)), keras$layers$Dense(3L)))
#' model |> compile("adam", keras$losses$SparseCategoricalCrossentropy(from_logits = TRUE))
#' job <- fit_background(model, as.matrix(iris[1:4]), iris$Species, epochs = 20)
#' job
#' history <- wait(job)
#' head(predict(model, as.matrix(iris[1:4]), verbose = 0))
#' @export
fit_background <- function(object, x = NULL, y = NULL, ..., callbacks = NULL, verbose = 2) {
  call <- user_call("fit_background")
  rlang::check_installed(c("callr", "globals"), "for fits in another process.")
  check_model(object, call)
  callbacks <- rlang::enquo(callbacks)
  arguments <- collect_dots(...)
  check_fit_arguments(arguments, call)
  data <- c(list(x = x, y = y), arguments)
  data <- Map(function(value, name) data_to_send(value, name, call), data, names(data))
  functions <- Filter(function(value) is.function(value) && !reticulate::is_py_object(value), data)
  code <- rlang::quo_get_expr(callbacks)
  env <- rlang::quo_get_env(callbacks)
  variables <- variables_of(list(code), env, list(), "callbacks", call, object)
  of_functions <- variables_of(list(), env, functions, names(functions)[1], call, object)
  variables$global <- c(variables$global, of_functions$global)
  folder <- tempfile("kerasfit-job-")
  dir.create(folder, mode = "0700")
  job <- list(
    folder = folder,
    settings = session_settings(),
    data = data,
    callbacks = code,
    variables = variables,
    random = r_random_state(),
    verbose = verbose
  )
  call_core(call, bridge$write_job, object, folder)
  advance_random_state()
  started <- BackgroundFit$new(object, job)
  running$jobs[[folder]] <- started # otherwise R may delete it, and callr then ends its process
  started
}

#' Background fits that have not ended
#' @noRd
running <- new.env(parent = emptyenv())

#' Check the names of arguments for `fit()` in another process
#' @param given Arguments of `fit()` that the caller itself gives.
#' @noRd
check_fit_arguments <- function(arguments, call, given = character()) {
  if (!all(nzchar(rlang::names2(arguments)))) {
    message <- "Arguments after the data must be named."
    abort_argument("...", message, call, "For example `epochs = 5`.")
  }
  known <- setdiff(
    names(formals(fit.keras.src.trainers.trainer.Trainer)),
    c("object", "x", "y", "...", "callbacks", "view_metrics", "verbose", given)
  )
  for (name in setdiff(names(arguments), known)) {
    nearest <- from_core(bridge$nearest_argument(name, as.list(known)))
    abort_argument(
      name,
      sprintf("%s() has no argument `%s`.", as.character(call[[1]]), name),
      call,
      if (!is.null(nearest)) sprintf("Did you mean `%s`?", nearest)
    )
  }
}

r_random_state <- function() get0(".Random.seed", globalenv(), inherits = FALSE)

#' Change the states of random generators, of which a copy was sent to another process
#' @noRd
advance_random_state <- function() {
  if (!is.null(r_random_state())) {
    stats::runif(1)
  }
  bridge$advance_random_states()
}

#' Train the model of a job. This runs in the other process.
#' @return A list with the history or the error, and the warnings.
#' @noRd
train_job <- function(job) {
  warnings <- character()
  answer <- tryCatch(
    withCallingHandlers(
      list(history = fit_job(job)),
      warning = function(warning) {
        warnings <<- c(warnings, conditionMessage(warning))
        invokeRestart("muffleWarning")
      }
    ),
    error = function(error) list(error = plain_error(error))
  )
  c(answer, list(warnings = warnings))
}

fit_job <- function(job) {
  apply_settings(job$settings)
  call <- quote(fit_background())
  model <- call_core(call, bridge$read_job, job$folder, convert = reticulate::py_to_r)
  env <- receive_variables(job$variables, model)
  if (!is.null(job$random)) {
    assign(".Random.seed", job$random, globalenv())
  }
  callbacks <- callbacks_from(job$callbacks, env)
  history <- rlang::inject(fit(
    model,
    !!!job$data,
    callbacks = callbacks,
    verbose = job$verbose,
    view_metrics = job$folder
  ))
  call_core(call, bridge$write_result, model, job$folder)
  history
}

#' Make callbacks from the code of an argument, which may return a function that makes them
#' @noRd
callbacks_from <- function(code, env) {
  callbacks <- eval(code, env)
  if (rlang::is_closure(callbacks)) callbacks() else callbacks
}

BackgroundFit <- R6::R6Class(
  "BackgroundFit",
  public = list(
    folder = NULL,
    initialize = function(model, job) {
      self$folder <- job$folder
      private$trained <- model
      private$process <- callr::r_bg(
        function(job) asNamespace("kerasfit")$train_job(job),
        list(job),
        stdout = file.path(job$folder, "output"),
        stderr = "2>&1",
        supervise = TRUE
      )
    },
    status = function() {
      if (!private$process$is_alive()) {
        private$finish()
        return(private$answer$status)
      }
      read_state(self$folder)$status
    },
    history = function() {
      private$answer$history %||% history_of_state(read_state(self$folder))
    },
    progress = function() {
      read_state(self$folder)[c("epoch", "epochs", "step", "steps", "left")]
    },
    output = function() {
      file <- file.path(self$folder, "output")
      if (file.exists(file)) readLines(file, warn = FALSE) else character()
    },
    model = function() {
      call <- quote(model())
      private$result(call)
      call_core(call, bridge$read_result, self$folder, convert = reticulate::py_to_r)
    },
    wait = function(timeout = Inf, verbose = FALSE) wait(self, timeout, verbose),
    stop = function() stop_training(self),
    print = function(...) {
      text <- format_job(self$status(), self$progress(), self$history(), private$loaded)
      writeLines(text)
      invisible(self)
    }
  ),
  private = list(
    process = NULL,
    trained = NULL,
    answer = NULL,
    loaded = FALSE,
    # reads the answer of the process, which has ended
    finish = function() {
      if (!is.null(private$answer)) {
        return(invisible())
      }
      running$jobs[[self$folder]] <- NULL
      answer <- tryCatch(private$process$get_result(), error = function(error) {
        list(error = list(message = private$reason_of_end()))
      })
      status <- read_state(self$folder)$status
      answer$status <- if (!is.null(answer$error)) {
        "failed"
      } else if (status == "stopped") {
        status
      } else {
        "ended"
      }
      private$answer <- answer
    },
    reason_of_end = function() {
      output <- utils::tail(self$output(), 3)
      paste(
        c(
          sprintf("The process ended with the exit status %s.", private$process$get_exit_status()),
          output
        ),
        collapse = "\n"
      )
    },
    # the history, or the error that the process has met
    result = function(call) {
      if (private$process$is_alive()) {
        abort_kerasfit(
          c("The model is still training.", i = "`wait()` waits for it."),
          "state",
          call
        )
      }
      private$finish()
      if (!is.null(private$answer$error)) {
        abort_worker("Training in the background failed.", private$answer$error, call)
      }
      private$answer$history
    },
    # waits, and shows what the process prints
    follow = function(timeout, verbose) {
      until <- Sys.time() + timeout
      shown <- 0L
      repeat {
        alive <- private$process$is_alive()
        if (verbose) {
          lines <- self$output()
          writeLines(lines[seq_along(lines) > shown])
          shown <- length(lines)
        }
        if (!alive) {
          return(TRUE)
        }
        left <- as.numeric(difftime(until, Sys.time(), units = "secs"))
        if (left <= 0) {
          return(FALSE)
        }
        private$process$wait(1000 * min(0.1, left))
      }
    },
    # puts the result into the model of this session
    put_result = function(call) {
      history <- private$result(call)
      if (!private$loaded) {
        for (message in private$answer$warnings) {
          warn_kerasfit(message, call)
        }
        check_model(private$trained, call)
        if (!from_core(call_core(call, bridge$is_as_sent, private$trained, self$folder))) {
          abort_kerasfit(
            c(
              "The model has been trained or changed since the background fit began.",
              i = "It was left as it is. `job$model()` is a new model with the result."
            ),
            "state",
            call
          )
        }
        call_core(call, bridge$put_result, private$trained, self$folder)
        private$loaded <- TRUE
      }
      history
    }
  ),
  cloneable = FALSE,
  lock_class = TRUE
)

format_job <- function(status, progress, history, loaded) {
  epochs <- history_epochs(history)
  last <- vapply(history$metrics, function(values) values[length(epochs)], numeric(1))
  metrics <- if (length(epochs)) sprintf("%s %s", names(last), format_each(last))
  now <- switch(
    status,
    starting = "starting",
    training = c(
      sprintf("epoch %d of %d", max(1L, progress$epoch), as.integer(progress$epochs)),
      metrics,
      if (!is.null(progress$left)) paste(format_seconds(progress$left), "left")
    ),
    failed = "failed; `wait()` shows the error",
    c(status, paste("after", format_epochs(epochs)), metrics)
  )
  lines <- paste0("Background fit: ", paste(now, collapse = ", "))
  if (status %in% c("ended", "stopped")) {
    lines <- c(
      lines,
      if (loaded) "The model has its weights." else "`wait()` puts its weights into the model."
    )
  }
  paste(lines, collapse = "\n")
}

format_each <- function(numbers) vapply(numbers, format, "", digits = 4)

#' The history of the epochs in the state that `fit()` writes to a folder
#' @noRd
history_of_state <- function(state) {
  numbers <- function(values) {
    vapply(values, function(value) as.double(value %||% NA), numeric(1))
  }
  new_history(
    list(epochs = state$epochs %||% NA_integer_),
    as.integer(numbers(state$rows$epoch)),
    lapply(state$rows$metrics, numbers),
    NULL
  )
}
