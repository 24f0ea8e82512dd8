skip_on_cran()

test_that("invalid arguments of callbacks are errors that name the argument", {
  refused <- function(code, argument, message) {
    error <- expect_error(code, message, fixed = TRUE, class = "kerasfit_error_argument")
    expect_identical(error$argument, argument)
  }
  for (patience in list(NA, "3", c(1, 2), NULL, 1.5, -3, -Inf)) {
    refused(
      callback_early_stopping(patience = patience),
      "patience",
      "`patience` must be a whole number, 0 or more, not "
    )
  }
  refused(
    callback_early_stopping(monitor = NULL),
    "monitor",
    "`monitor` must be a string, not NULL."
  )
  refused(
    callback_early_stopping(min_delta = "a"),
    "min_delta",
    "`min_delta` must be a number, not \"a\"."
  )
  refused(
    callback_early_stopping(baseline = "a"),
    "baseline",
    "`baseline` must be a number, not \"a\"."
  )
  refused(
    callback_early_stopping(restore_best_weights = NA),
    "restore_best_weights",
    "must be TRUE or FALSE, not NA."
  )
  refused(
    callback_early_stopping(mode = "most"),
    "mode",
    "`mode` must be one of \"auto\", \"min\", \"max\", not \"most\"."
  )
  refused(
    callback_reduce_lr_on_plateau(factor = NaN),
    "factor",
    "`factor` must be a number, not NaN."
  )
  refused(
    callback_model_checkpoint(c("a.keras", "b.keras")),
    "filepath",
    "`filepath` must be the path of a file"
  )
  refused(
    callback_model_checkpoint("a.keras", save_freq = "batch"),
    "save_freq",
    "`save_freq` must be \"epoch\" or a whole number, 1 or more, not \"batch\"."
  )
  refused(
    callback_model_checkpoint("a.keras", save_freq = 0),
    "save_freq",
    "`save_freq` must be \"epoch\" or a whole number, 1 or more, not 0."
  )
  for (headers in list(3, c(a = "b"), list("b"))) {
    refused(
      callback_remote_monitor(headers = headers),
      "headers",
      "`headers` must be a named list, not "
    )
  }
  refused(
    callback_tensorboard(embeddings_metadata = 3),
    "embeddings_metadata",
    "`embeddings_metadata` must be a named list, not 3."
  )
  refused(
    callback_progress(metrics = 3),
    "metrics",
    "`metrics` must be names of metrics, not 3."
  )
  refused(callback_model_checkpoint(), "filepath", "`filepath` must be given.")
  refused(callback_learning_rate_scheduler(), "schedule", "`schedule` must be given.")
  refused(callback_max_time(), "seconds", "`seconds` must be given.")
  error <- tryCatch(callback_early_stopping(patience = "3"), error = identity)
  expect_identical(conditionCall(error), quote(callback_early_stopping()))
})
