# Interrupts in separate R sessions, sent as signals.

skip_on_cran()
skip_on_os("windows")
skip_if_not_installed("callr")

#' Run code in a new R session, which prints "ready" when it can be interrupted
#' @param after Seconds between each "ready" and a SIGINT.
#' @return The lines printed after the first.
interrupted_session <- function(code, after) {
  script <- withr::local_tempfile(fileext = ".R")
  writeLines(
    c(
      "library(kerasfit)",
      "set_random_seed(1)",
      "x <- matrix(rnorm(20000 * 10), ncol = 10)",
      "model <- keras$Sequential(list(keras$layers$Dense(32L), keras$layers$Dense(1L)))",
      "compile(model, 'adam', 'mse')",
      "fit(model, x, x[, 1], verbose = 0)",
      "ready <- function() cat('ready\\n')",
      code
    ),
    script
  )
  session <- callr::process$new(
    file.path(R.home("bin"), "Rscript"),
    script,
    stdout = "|",
    stderr = "2>&1",
    env = env_of_child()
  )
  withr::defer(session$kill())
  lines <- character()
  read <- function(until) {
    deadline <- Sys.time() + 90
    while (!until() && Sys.time() < deadline) {
      session$poll_io(1000)
      lines <<- c(lines, session$read_output_lines())
    }
  }
  ended <- function() !session$is_alive() && !session$is_incomplete_output()
  for (signal in seq_along(after)) {
    read(function() sum(lines == "ready") == signal || ended())
    Sys.sleep(after[signal])
    session$interrupt()
  }
  read(ended)
  c(lines[-seq_len(match("ready", lines))], sprintf("exit %s", session$get_exit_status()))
}

finish <- c(
  "fit(model, x, x[, 1], verbose = 0)",
  "stopifnot(all(is.finite(unlist(model$get_weights()))))",
  "cat('usable\\n')"
)

# scripts have no Ctrl-C: a callback interrupts them
stopping <- c(
  "train <- function(...) fit(model, x, x[, 1], epochs = 5, verbose = 0, callbacks = stops(), ...)",
  "stops <- function() list(on_epoch_end = function(epoch) if (epoch == 2) rlang::interrupt())",
  "told <- function(condition) cat('told', length(condition$history$metrics$loss), '\\n')"
)

test_that("an interrupt ends training and fit() returns the history", {
  lines <- interrupted_session(
    after = 1,
    c(
      "on_end <- list(on_train_end = function() cat('train end\\n'))",
      "ready()",
      "h <- fit(model, x, x[, 1], epochs = 10000, verbose = 0, callbacks = on_end)",
      "cat(h$params$interrupted, length(h$metrics$loss) > 0, nrow(as.data.frame(h)) > 0, '\\n')",
      finish
    )
  )
  expect_identical(lines[1], "train end")
  expect_match(lines[2], "Training was interrupted after [0-9]+ complete epochs?")
  expect_identical(lines[-(1:3)], c("TRUE TRUE TRUE ", "usable", "exit 0"))
})

test_that("an interrupt returns the history at the top level, elsewhere it ends the caller", {
  lines <- interrupted_session(
    after = numeric(),
    c(
      stopping,
      "ready()",
      "h <- fit(model, x, x[, 1], epochs = 5, verbose = 0, callbacks = stops())",
      "cat('assigned', h$params$interrupted, '\\n')",
      "h <- suppressMessages(model |>",
      "  fit(x, x[, 1], epochs = 5, verbose = 0, callbacks = stops()))",
      "cat('piped', h$params$interrupted, '\\n')",
      "cat('a script goes on', evaluate(model, x, x[, 1], verbose = 0)$loss > 0, '\\n')",
      "tryCatch({ train(); cat('wrong\\n') }, interrupt = told)",
      "tryCatch(lapply(list(model), fit, x = x, y = x[, 1],",
      "  epochs = 5, verbose = 0, callbacks = stops()), interrupt = told)",
      "tryCatch({ for (i in 1:3)",
      "  fit(model, x, x[, 1], epochs = 5, verbose = 0, callbacks = stops()) }, interrupt = told)",
      "options(kerasfit.interrupt = 'return')",
      "cat('returned', train()$params$interrupted, '\\n')",
      "options(kerasfit.interrupt = NULL)",
      "sourced <- tempfile(fileext = '.R')",
      "writeLines(c('h <- fit(model, x, x[, 1], epochs = 5, verbose = 0, callbacks = stops())',",
      "  'cat(\\'sourced\\', h$params$interrupted)'), sourced)",
      "source(sourced)",
      "cat('\\n')",
      # a loop at the top level, which functions cannot see
      "for (i in 1:3) { h <- fit(model, x, x[, 1], epochs = 5, verbose = 0, callbacks = stops());",
      "  cat('fold', i, '\\n') }",
      "cat('wrong\\n')"
    )
  )
  expect_identical(
    trimws(grep(
      "Training was interrupted|weights of its last",
      lines,
      invert = TRUE,
      value = TRUE
    )),
    c(
      "assigned TRUE",
      "piped TRUE",
      "a script goes on TRUE",
      rep("told 2", 3),
      "returned TRUE",
      "sourced TRUE",
      "fold 1",
      "",
      "Execution halted",
      "exit 1"
    )
  )
})

test_that("an interrupt in a generator, a callback or validation takes effect immediately", {
  slow <- c(
    generator = paste(
      "fit(model, function() { Sys.sleep(30); list(x[1:32, ], x[1:32, 1]) },",
      "steps_per_epoch = 9, verbose = 0)"
    ),
    callback = paste(
      "fit(model, x, x[, 1], verbose = 0,",
      "callbacks = list(on_epoch_end = function() Sys.sleep(30)))"
    ),
    validation = paste(
      "fit(model, x[1:32, ], x[1:32, 1], validation_data = list(x, x[, 1]),",
      "epochs = 1e5, verbose = 0)"
    ),
    batches = paste(
      "fit(model, x, x[, 1], epochs = 1e5, verbose = 0,",
      "callbacks = list(on_train_batch_end = function() NULL))"
    )
  )
  for (name in if (tests_all) names(slow) else "generator") {
    lines <- interrupted_session(
      after = 1,
      c(
        "ready()",
        "began <- Sys.time()",
        paste("h <-", slow[[name]]),
        "seconds <- as.numeric(Sys.time() - began, units = 'secs')",
        "cat(h$params$interrupted, seconds < 20, '\\n')",
        finish
      )
    )
    expect_identical(utils::tail(lines, 3), c("TRUE TRUE ", "usable", "exit 0"), label = name)
  }
})

test_that("options(kerasfit.interrupt = \"error\") raises R's interrupt with the history", {
  lines <- interrupted_session(
    after = c(1, 1),
    c(
      "options(kerasfit.interrupt = 'error')",
      "ready()",
      "heard <- function(condition) cat('heard', class(condition$history), '\\n')",
      "tryCatch(",
      "  withCallingHandlers(",
      "  fit(model, x, x[, 1], epochs = 10000, verbose = 0), interrupt = heard),",
      "  interrupt = function(condition) cat(class(condition), '\\n')",
      ")",
      "options(kerasfit.interrupt = 'return')",
      "ready()",
      "h <- withCallingHandlers(",
      "  fit(model, x, x[, 1], epochs = 10000, verbose = 0), interrupt = heard)",
      "cat(h$params$interrupted, '\\n')",
      finish
    )
  )
  expect_identical(
    lines[1:3],
    c(
      "heard kerasfit_history keras_training_history ",
      "kerasfit_interrupt interrupt condition ",
      "ready"
    )
  )
  expect_identical(utils::tail(lines, 3), c("TRUE ", "usable", "exit 0"))
  withr::local_options(kerasfit.interrupt = "wait")
  expect_error(
    fit(classifier(), iris_x, iris_y),
    "`options(kerasfit.interrupt = )` must be one of \"auto\", \"return\", \"error\"",
    fixed = TRUE,
    class = "kerasfit_error_argument"
  )
})

test_that("an interrupt during compilation ends training after it", {
  skip_unless_all()
  lines <- interrupted_session(
    after = 0.2,
    c(
      "layers <- lapply(1:30, function(i) keras$layers$Dense(32L, activation = 'relu'))",
      "model <- keras$Sequential(c(layers, keras$layers$Dense(1L)))",
      "compile(model, 'adam', 'mse')",
      "ready()",
      "h <- fit(model, x[, 1:9], x[, 1], epochs = 10000, verbose = 0)",
      "cat(h$params$interrupted, '\\n')",
      "h <- fit(model, x[, 1:9], x[, 1], verbose = 0)",
      "stopifnot(all(is.finite(unlist(model$get_weights()))))"
    )
  )
  expect_identical(utils::tail(lines, 2), c("TRUE ", "exit 0"))
})

test_that("R CMD BATCH continues with the history after an interrupt", {
  skip_unless_all()
  dir <- withr::local_tempdir()
  pid <- file.path(dir, "pid")
  script <- file.path(dir, "batch.R")
  writeLines(
    c(
      "library(kerasfit)",
      "x <- matrix(rnorm(20000), ncol = 10)",
      "model <- compile(keras$Sequential(list(keras$layers$Dense(1L))), 'adam', 'mse')",
      sprintf("begin <- function() cat(Sys.getpid(), file = '%s')", pid),
      "h <- fit(model, x, x[, 1], epochs = 1e5, verbose = 0,",
      "  callbacks = list(on_train_begin = begin))",
      "cat('interrupted', h$params$interrupted, '\\n')"
    ),
    script
  )
  batch <- callr::process$new(
    file.path(R.home("bin"), "R"),
    c("CMD", "BATCH", "--no-save", script, file.path(dir, "out")),
    env = env_of_child()
  )
  withr::defer(batch$kill_tree())
  deadline <- Sys.time() + 90
  while (
    !length(number <- if (file.exists(pid)) readLines(pid, warn = FALSE)) && Sys.time() < deadline
  ) {
    Sys.sleep(0.1)
  }
  Sys.sleep(0.5)
  tools::pskill(as.integer(number), tools::SIGINT)
  batch$wait(60000)
  expect_true("interrupted TRUE " %in% readLines(file.path(dir, "out")))
  expect_identical(batch$get_exit_status(), 0L)
})

test_that("evaluate() and predict() can be interrupted like R code", {
  lines <- interrupted_session(
    after = c(0.1, 0.3, 0.5, 0.7),
    c(
      "interrupted <- function(code) tryCatch({ ready(); repeat code() },",
      "  interrupt = function(e) cat('interrupted\\n'))",
      "for (i in 1:2) {",
      "  interrupted(function() evaluate(model, x, x[, 1], verbose = 0))",
      "  interrupted(function() predict(model, x, verbose = 0))",
      "}",
      finish
    )
  )
  expect_identical(setdiff(lines, "ready"), c("interrupted", "usable", "exit 0"))
  expect_identical(sum(lines == "interrupted"), 4L)
})

test_that("an interrupted run can be continued", {
  skip_unless_all()
  dir <- withr::local_tempdir()
  train <- c(
    "options(kerasfit.interrupt = 'return')",
    "again <- function(...) {",
    "  set_random_seed(2)",
    "  model <- keras$Sequential(list(keras$layers$Dense(32L),",
    "  keras$layers$Dropout(0.5), keras$layers$Dense(1L)))",
    "  compile(model, 'adam', 'mse')",
    "  h <- fit(model, x, x[, 1], epochs = 60, verbose = 0, ...)",
    "  list(h$metrics, model$get_weights(), h$params$interrupted)",
    "}"
  )
  lines <- interrupted_session(
    after = 1,
    c(
      train,
      "pause <- list(on_epoch_end = function() Sys.sleep(0.05))",
      sprintf("backup <- callback_backup_and_restore('%s')", file.path(dir, "state")),
      "ready()",
      "part <- again(callbacks = list(pause, backup))",
      "rest <- again(callbacks = list(pause, backup))",
      "whole <- again(callbacks = pause)",
      "cat(part[[3]], rest[[3]], identical(rest, whole), '\\n')"
    )
  )
  expect_identical(utils::tail(lines, 2), c("TRUE FALSE TRUE ", "exit 0"))
})

test_that("Ctrl-C in a terminal interrupts training", {
  skip_if_not_installed("processx")
  session <- processx::process$new(
    file.path(R.home("bin"), "R"),
    c("--no-save", "--no-restore", "--quiet"),
    pty = TRUE,
    pty_options = list(echo = FALSE),
    env = env_of_child()
  )
  withr::defer(session$kill())
  seen <- ""
  expect_output_of <- function(code, pattern) {
    session$write_input(paste0(code, "\n"))
    deadline <- Sys.time() + 60
    while (!grepl(pattern, seen) && Sys.time() < deadline) {
      session$poll_io(500)
      seen <<- paste0(seen, session$read_output())
    }
    expect_match(seen, pattern)
    seen <<- ""
  }
  expect_output_of(
    "library(kerasfit); x <- matrix(1:40000 / 40000, ncol = 10); cat('load', 'ed\\n')",
    "load ed"
  )
  expect_output_of(
    paste(
      "m <- keras$Sequential(list(keras$layers$Dense(1L)));",
      "m <- compile(m, 'sgd', 'mse'); cat('mad', 'e\\n')"
    ),
    "mad e"
  )
  session$write_input("h <- fit(m, x, x[, 1], epochs = 1e5, verbose = 1)\n")
  expect_output_of("", "Epoch +30/")
  expect_output_of("\003", "Training was interrupted")
  expect_output_of("cat('still', h$params$interrupted, '\\n')", "still TRUE")
})
