#' Wait for a background fit, or stop it
#'
#' @param job A value of [fit_background()].
#' @param timeout The number of seconds to wait at most.
#' @param verbose Whether to show what the other process prints.
#' @return `wait()`: the [keras_training_history], invisibly, once training has ended; the model has
#'   the trained weights then. NULL if it has not ended in time. `stop_training()`: `job`,
#'   invisibly; training stops after the current step, and `wait()` then returns as usual.
#' @section Errors: `wait()` raises the error that ended training, with the class that it had, or
#'   one of class `kerasfit_error_state` if the model has been trained or changed since
#'   `fit_background()` was called. The model is unchanged then. An interrupt ends only the waiting.
#' @examplesIf kerasfit:::has_keras() && rlang::is_installed(c("callr", "globals"))
#' model <- keras$Sequential(list(keras$Input(list(1L)), keras$layers$Dense(1L)))
#' model |> compile("sgd", "mse")
#' job <- fit_background(model, cars$speed, cars$dist, epochs = 100000)
#' stop_training(job)
#' wait(job)
#' @export
wait <- function(job, timeout = Inf, verbose = FALSE) {
  call <- user_call("wait")
  check_job(job, call)
  if (!is.numeric(timeout) || length(timeout) != 1 || is.na(timeout)) {
    message <- sprintf("`timeout` must be a number of seconds, not %s.", describe(timeout))
    abort_argument("timeout", message, call)
  }
  if (!rlang::is_bool(verbose)) {
    message <- sprintf("`verbose` must be TRUE or FALSE, not %s.", describe(verbose))
    abort_argument("verbose", message, call)
  }
  private <- job$.__enclos_env__$private
  if (private$follow(timeout, verbose)) invisible(private$put_result(call)) else invisible(NULL)
}

#' @rdname wait
#' @export
stop_training <- function(job) {
  check_job(job, user_call("stop_training"))
  state <- file.path(view_folder(job$folder), "state.json")
  while (!file.exists(state) && job$.__enclos_env__$private$process$is_alive()) {
    Sys.sleep(0.05) # fit() deletes requests that are older than its first state
  }
  request_stop(job$folder)
  invisible(job)
}

check_job <- function(job, call) {
  if (!inherits(job, "BackgroundFit")) {
    abort_argument(
      "job",
      sprintf("`job` must be a value of `fit_background()`, not %s.", describe(job)),
      call
    )
  }
}

#' @export
plot.BackgroundFit <- function(x, ...) plot(x$history(), ...)
