skip_on_cran()
skip_if_not_installed("callr")
skip_if_not_installed("knitr")

run <- function(...) capture.output(fit(classifier(), iris_x, iris_y, epochs = 3, ...))

epoch_line <- "^Epoch [123]/3 - [0-9.]+(ms|s) - loss: [0-9.]+ - accuracy: [0-9.]+$"

test_that("verbose = 0 is silent", {
  expect_identical(run(verbose = 0), character())
})

test_that("verbose = 1 and 2 print a line for each epoch to R's own output", {
  for (verbose in 1:2) {
    lines <- run(verbose = verbose)
    expect_length(lines, 3)
    expect_match(lines, epoch_line)
  }
})

test_that("validation metrics are on the same line", {
  expect_match(
    run(verbose = 2, validation_split = 0.2),
    "val_loss: [0-9.]+ - val_accuracy: [0-9.]+$"
  )
})

test_that("output of Python during training goes to R's own output", {
  stops <- callback_early_stopping("loss", patience = 0, min_delta = 1e9, verbose = 1)
  expect_match(run(verbose = 2, callbacks = stops), "^Epoch 2: early stopping$", all = FALSE)
  prints <- reticulate::py_run_string(
    paste(
      "def print_all():",
      "    import threading",
      "    print('one', 2, end=';')",
      "    thread = threading.Thread(target=print, args=('from a thread',))",
      "    thread.start(); thread.join()",
      sep = "\n"
    ),
    local = TRUE
  )$print_all
  printing <- list(on_epoch_end = function(epoch, logs) prints())
  expect_identical(run(verbose = 0, callbacks = printing), rep("one 2;from a thread", 3))
  at_end <- list(on_test_end = function(logs) prints())
  expect_output(
    evaluate(classifier(), iris_x, iris_y, verbose = 0, callbacks = at_end),
    "one 2;from a thread"
  )
  sys <- reticulate::import("sys", convert = FALSE)
  expect_identical(reticulate::py_id(sys$stdout), reticulate::py_id(sys[["__stdout__"]]))
})

test_that("sink() captures the lines", {
  path <- withr::local_tempfile()
  sink(path)
  fit(classifier(), iris_x, iris_y, epochs = 3, verbose = 1)
  sink()
  expect_match(readLines(path), epoch_line)
})

test_that("options(keras.verbose =) sets the default", {
  withr::local_options(keras.verbose = 0)
  expect_identical(run(), character())
})

test_that("verbose = \"auto\" shows a progress bar, and one line for each epoch in knitr", {
  verbosity <- function() {
    capture.output(history <- fit(classifier(), iris_x, iris_y))
    history$params$verbose
  }
  expect_identical(verbosity(), 1L)
  withr::local_options(knitr.in.progress = TRUE)
  expect_identical(verbosity(), 2L)
})

test_that("a terminal shows a bar with steps, time and metrics, which is removed at the end", {
  shown <- in_new_session(function() {
    options(cli.dynamic = TRUE, cli.num_colors = 1, cli.width = 100)
    err <- tempfile()
    con <- file(err, open = "wt")
    sink(con, type = "message")
    writer <- kerasfit:::new_console_writer()
    writer$bar_begin("Epoch 1/3", 40L)
    for (step in 1:40) {
      writer$bar_update(step, sprintf("loss: %.2f", 1 / step))
    }
    writer$bar_end()
    sink(type = "message")
    close(con)
    paste(readLines(err, warn = FALSE), collapse = "\n")
  })
  expect_match(shown, "Epoch 1/3")
  expect_match(shown, "20/40")
  expect_match(shown, "ETA")
  expect_match(shown, "loss: 0.05")
})

test_that("a document rendered by knitr has a line for each epoch and no bar", {
  skip_unless_all()
  dir <- withr::local_tempdir()
  writeLines(
    c(
      "```{r}",
      "library(kerasfit)",
      "model <- keras$Sequential(list(keras$layers$Dense(1L)))",
      "compile(model, 'sgd', 'mse')",
      "history <- fit(model, matrix(1:20 / 20), 1:20 / 20, epochs = 3)",
      "history",
      "```"
    ),
    file.path(dir, "document.Rmd")
  )
  rendered <- in_new_session(
    function(dir) {
      setwd(dir)
      readLines(knitr::knit("document.Rmd", quiet = TRUE))
    },
    args = list(dir)
  )
  expect_length(grep("^## Epoch [123]/3 - .* - loss: [0-9.e-]+$", rendered), 3)
  expect_length(grep("Training history: epochs 1 to 3", rendered), 1)
  expect_no_match(rendered, "■|\r|\033")
})

test_that("a script with its output in a file writes lines without control characters", {
  dir <- withr::local_tempdir()
  script <- file.path(dir, "script.R")
  writeLines(
    c(
      "library(kerasfit)",
      "model <- keras$Sequential(list(keras$layers$Dense(1L)))",
      "compile(model, 'sgd', 'mse')",
      "fit(model, matrix(1:20 / 20), 1:20 / 20, epochs = 3, verbose = 1)"
    ),
    script
  )
  rscript_as_user(script, stdout = file.path(dir, "log"), stderr = file.path(dir, "err"))
  expect_match(readLines(file.path(dir, "log")), "^Epoch [123]/3 - [^\r\033]*$")
  expect_identical(readLines(file.path(dir, "err")), character())
})

test_that("a closed pipe does not end training", {
  skip_on_os("windows")
  skip_if_not_installed("processx")
  done <- withr::local_tempfile()
  script <- withr::local_tempfile(
    fileext = ".R",
    lines = c(
      "library(kerasfit)",
      "x <- matrix(1:400 / 400, ncol = 10)",
      "model <- compile(keras$Sequential(list(keras$layers$Dense(1L))), 'sgd', 'mse')",
      "speaking <- list(",
      "  callback_early_stopping('loss', min_delta = 9, patience = 30, verbose = 1),",
      "  list(on_epoch_end = function() cat('own\\n')))",
      "for (verbose in 1:2) h <- fit(model, x, x[, 1], epochs = 40,",
      "  verbose = verbose, callbacks = speaking)",
      sprintf("writeLines(format(length(h$metrics$loss)), '%s')", done)
    )
  )
  program <- paste(
    shQuote(file.path(R.home("bin"), "Rscript")),
    shQuote(script),
    "2>/dev/null | head -1"
  )
  first <- processx::run(
    "sh",
    c("-c", program),
    env = env_of_child(),
    error_on_status = FALSE
  )$stdout
  expect_match(first, "own|Epoch")
  expect_identical(readLines(done), "31")
})

test_that("each level of nested calls has a writer, also if an outer one needs none", {
  state <- kerasfit:::call_state
  before <- mget(c("writers", "depth"), state, ifnotfound = list(NULL))
  on.exit(list2env(before, state))
  list2env(list(writers = NULL, depth = 1L), state)
  inner <- kerasfit:::console_writer()
  state$depth <- NULL
  outer <- kerasfit:::console_writer()
  expect_false(is.null(inner) || is.null(outer))
  expect_false(identical(inner, outer))
  expect_identical(kerasfit:::console_writer(), outer)
})
