test_that("as.data.frame() has a row for each epoch, metric and data set", {
  data <- as.data.frame(a_history(
    list(loss = c(3, 2), mae = c(1, 0.5), val_loss = c(4, NA)),
    epoch = 6:7
  ))
  expect_identical(
    data,
    data.frame(
      epoch = rep(6:7, 3),
      value = c(3, 2, 1, 0.5, 4, NA),
      metric = factor(c("loss", "loss", "mae", "mae", "loss", "loss"), c("loss", "mae")),
      data = factor(rep(c("training", "validation"), c(4, 2)), c("training", "validation"))
    )
  )
})

test_that("the epochs of a history made by another package count from 1", {
  history <- structure(
    list(params = list(epochs = 5), metrics = list(loss = c(3, 2))),
    class = "keras_training_history"
  )
  expect_identical(as.data.frame(history)$epoch, 1:2)
  expect_output(print(history), "epochs 1 to 2")
})

test_that("print() shows the run in a few lines", {
  history <- a_history(list(
    loss = c(0.5, 0.25),
    accuracy = c(0.5, 0.8),
    val_loss = c(1, NA),
    val_accuracy = c(0.4, NA)
  ))
  expect_snapshot(history)
  expect_snapshot(a_history(
    list(loss = 0.123456),
    validation_samples = NA_integer_,
    samples = 14400L
  ))
  expect_snapshot(a_history(list(), epoch = integer()))
  many <- rep(list(1:3 / 7), 30)
  expect_lte(
    length(capture.output(print(a_history(stats::setNames(many, paste0("metric_", 1:30)))))),
    10
  )
})

test_that("NaN is a measured value and NA is not", {
  history <- a_history(list(loss = c(1, 0.5, NaN), mae = c(2, Inf, NA), val_loss = c(3, NA, NA)))
  expect_match(format(history), "^loss +NaN +NA$", all = FALSE)
  expect_match(format(history), "^mae +NA +NA$", all = FALSE)
  table <- summary(history)
  expect_identical(table$last, c(NaN, Inf, 3))
  expect_identical(table$best, c(0.5, 2, 3))
  expect_identical(summary(a_history(list(loss = c(NA, NaN, 1))))$first, NaN)
})

test_that("a decimal comma does not change the printed history", {
  withr::local_options(OutDec = ",")
  history <- a_history(list(loss = 0.25), samples = 14400L)
  expect_silent(lines <- format(history))
  expect_match(lines, "14,400 samples", all = FALSE)
  expect_silent(summary(history))
})

test_that("every method works with validation in some epochs only, and after saveRDS()", {
  history <- a_history(list(loss = c(3, 2, 1, 1), val_loss = c(NA, 2.5, NA, 1.5)))
  path <- withr::local_tempfile()
  saveRDS(history, path)
  expect_identical(readRDS(path), history)
  withr::local_pdf(NULL)
  for (method in plot_methods) {
    for (smooth in c(TRUE, FALSE)) {
      expect_silent(
        print(plot(history, method = method, smooth = smooth)) |> capture.output() |> invisible()
      )
    }
  }
  expect_identical(summary(history)$best_epoch, c(3L, 4L))
  expect_identical(generics::glance(history)$best_epoch, 4L)
})

test_that("head() and tail() count epochs", {
  history <- a_history(list(loss = c(4, 3, 2)), epoch = 2:4)
  expect_identical(tail(history, 1)$metrics$loss, 2)
  expect_identical(tail(history)$metrics$loss, c(4, 3, 2))
  expect_identical(head(history, 2)$params$epoch, 2:3)
  expect_identical(head(history, -1), head(history, 2))
})

test_that("c() joins consecutive runs", {
  first <- a_history(list(loss = c(5, 4, 3), val_loss = c(6, 5, 4)), seconds = c(1, 2, 3))
  second <- a_history(
    list(loss = c(2.5, 2), mae = c(1, 1)),
    epoch = 3:4,
    epochs = 9L,
    seconds = c(4, 5)
  )
  joined <- c(first, second)
  expect_identical(joined$params$epoch, 1:4)
  expect_identical(
    joined$params[c("epochs", "initial_epoch", "seconds")],
    list(epochs = 9L, initial_epoch = 1L, seconds = c(1, 2, 4, 5))
  )
  expect_identical(
    joined$metrics,
    list(loss = c(5, 4, 2.5, 2), val_loss = c(6, 5, NA, NA), mae = c(NA, NA, 1, 1))
  )
  expect_identical(c(first, first)$params$epoch, 1:6)
  expect_identical(c(first), first)
  expect_identical(c(first, a_history(list(), epoch = integer())), first)
  expect_error(c(first, 1), "only with other histories", class = "kerasfit_error_argument")
})

test_that("[ selects epochs", {
  history <- a_history(list(loss = c(5, 4, 3)), epoch = 11:13, seconds = c(1, 2, 3))
  expect_identical(history[12:13]$metrics$loss, c(4, 3))
  expect_identical(history[12:13]$params$epoch, 12:13)
  expect_identical(history[-11]$params$seconds, c(2, 3))
  expect_identical(history[history$metrics$loss < 5], history[12:13])
  expect_identical(history[c(FALSE, NA, TRUE)], history[13])
  expect_identical(history["metrics"], list(metrics = list(loss = c(5, 4, 3))))
  expect_identical(history[0], history[integer()])
  expect_identical(history[0]$metrics, list(loss = numeric()))
  expect_identical(
    conditionCall(tryCatch(history[1:3], error = identity)),
    quote(`[`(history, 1:3))
  )
  expect_error(
    history[1:3],
    "has no epoch 1, 2, 3; it has epochs 11 to 13",
    class = "kerasfit_error_argument"
  )
  expect_error(
    history[c(-11, 12)],
    "must not mix positive and negative epochs",
    class = "kerasfit_error_argument"
  )
  error <- expect_error(
    history[NA_integer_],
    "`i` must not have missing values",
    class = "kerasfit_error_argument"
  )
  expect_identical(error$argument, "i")
})

test_that("a history has the contents that its help page describes", {
  skip_on_cran()
  history <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 5,
    validation_split = 0.2,
    validation_freq = 2,
    batch_size = 10,
    verbose = 0
  )
  expect_named(history, c("params", "metrics"))
  expect_identical(
    history$params,
    list(
      epochs = 5L,
      initial_epoch = 1L,
      steps = 12L,
      samples = 120L,
      validation_samples = 30L,
      batch_size = 10L,
      verbose = 0L,
      interrupted = FALSE,
      levels = levels(iris$Species),
      epoch = 1:5,
      seconds = history$params$seconds
    )
  )
  expect_true(all(history$params$seconds > 0))
  expect_identical(is.na(history$metrics$val_loss), c(TRUE, FALSE, TRUE, FALSE, TRUE))
  expect_identical(unlist(lapply(history$metrics, class), use.names = FALSE), rep("numeric", 4))

  named <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 3,
    validation_split = 0.2,
    validation_freq = list(1, 3),
    verbose = 0
  )
  expect_identical(is.na(named$metrics$val_loss), c(FALSE, TRUE, FALSE))
})

test_that("a saved history can be read, printed and plotted in a session without Python", {
  skip_on_cran()
  skip_if_not_installed("callr")
  history <- fit(classifier(), iris_x, iris_y, epochs = 2, verbose = 0)
  path <- withr::local_tempfile()
  saveRDS(history, path)
  printed <- callr::r(
    function(path) {
      library(kerasfit)
      history <- readRDS(path)
      pdf(NULL)
      plot(history)
      list(
        rows = nrow(as.data.frame(history)),
        lines = capture.output(print(history)),
        python = reticulate::py_available()
      )
    },
    list(path),
    env = c(callr::rcmd_safe_env(), RETICULATE_PYTHON = "/nonexistent")
  )
  expect_identical(printed$rows, 4L)
  expect_identical(printed$lines, capture.output(print(history)))
  expect_false(printed$python)
})
