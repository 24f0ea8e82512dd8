test_that("as.data.frame() has a row for each epoch, metric and data set", {
  data <- as.data.frame(a_history(list(loss = c(3, 2), mae = c(1, 0.5), val_loss = c(4, NA)), epoch = 6:7))
  expect_identical(data, data.frame(
    epoch = rep(6:7, 3),
    value = c(3, 2, 1, 0.5, 4, NA),
    metric = factor(c("loss", "loss", "mae", "mae", "loss", "loss"), c("loss", "mae")),
    data = factor(rep(c("training", "validation"), c(4, 2)), c("training", "validation"))
  ))
})

test_that("a history that another package made has epochs from 1", {
  history <- structure(
    list(params = list(epochs = 5), metrics = list(loss = c(3, 2))),
    class = "keras_training_history"
  )
  expect_identical(as.data.frame(history)$epoch, 1:2)
  expect_output(print(history), "epochs 1 to 2")
})

test_that("print() shows the run in a few lines", {
  history <- a_history(list(loss = c(0.5, 0.25), accuracy = c(0.5, 0.8), val_loss = c(1, NA), val_accuracy = c(0.4, NA)))
  expect_snapshot(history)
  expect_snapshot(a_history(list(loss = 0.123456), validation_samples = NA_integer_, samples = 14400L))
  expect_snapshot(a_history(list(), epoch = integer()))
  many <- rep(list(1:3 / 7), 30)
  expect_lte(length(capture.output(print(a_history(stats::setNames(many, paste0("metric_", 1:30)))))), 11)
})

test_that("every method works with validation in some epochs only, and after saveRDS()", {
  history <- a_history(list(loss = c(3, 2, 1, 1), val_loss = c(NA, 2.5, NA, 1.5)))
  path <- withr::local_tempfile()
  saveRDS(history, path)
  expect_identical(readRDS(path), history)
  withr::local_pdf(NULL)
  for (method in c("ggplot2", "base")) {
    for (smooth in c(TRUE, FALSE)) {
      expect_silent(print(plot(history, method = method, smooth = smooth)) |> capture.output() |> invisible())
    }
  }
})

test_that("the plot has a panel for each metric and a line for each data set", {
  history <- a_history(list(loss = c(3, 2), mae = c(1, 0.5), val_loss = c(4, 3), val_mae = c(2, 1)), epoch = 6:7)
  plot <- plot(history)
  expect_s3_class(plot, "ggplot")
  built <- ggplot2::ggplot_build(plot)
  expect_identical(nrow(built$layout$layout), 2L)
  expect_setequal(built$data[[1]]$x, 6:7)
  expect_identical(unique(plot(history, metrics = "mae")$data$metric), factor("mae"))
  expect_s3_class(plot(history, theme_bw = TRUE), "ggplot")
})

test_that("epochs on the axis are whole, and one epoch can be plotted", {
  expect_identical(whole_breaks(c(0.8, 3.2)), c(1, 2, 3))
  expect_identical(whole_breaks(c(6, 6)), 6)
  withr::local_pdf(NULL)
  one <- a_history(list(loss = 1, val_loss = 2))
  expect_silent(print(plot(one, method = "ggplot2", smooth = TRUE)))
  expect_silent(plot(one, method = "base", smooth = TRUE))
})

test_that("few points are smoothed without warnings", {
  withr::local_pdf(NULL)
  for (epochs in c(2, 5, 9, 10, 30)) {
    expect_silent(print(plot(a_history(list(loss = 1 / seq_len(epochs))), smooth = TRUE)))
  }
})

test_that("what cannot be plotted is refused", {
  diverged <- a_history(list(loss = c(NaN, Inf)))
  for (method in c("base", "ggplot2")) {
    expect_error(plot(diverged, method = method), "no finite values", class = "kerasfit_error_argument")
  }
  history <- a_history(list(loss = c(2, 1)))
  expect_error(plot(history, metrics = "acc"), "`metrics` names \"acc\"", class = "kerasfit_error_argument")
  expect_error(plot(history, method = "lattice"), "`method` must be one of", class = "kerasfit_error_argument")
  expect_error(plot(a_history(list(), epoch = integer())), "nothing to plot")
})

test_that("a history of training has what its help page says", {
  skip_on_cran()
  history <- fit(classifier(), iris_x, iris_y,
    epochs = 5, validation_split = 0.2, validation_freq = 2, batch_size = 10, verbose = 0
  )
  expect_named(history, c("params", "metrics"))
  expect_identical(history$params, list(
    epochs = 5L, initial_epoch = 1L, steps = 12L, samples = 120L, validation_samples = 30L, batch_size = 10L,
    verbose = 0L, interrupted = FALSE, levels = levels(iris$Species), epoch = 1:5
  ))
  expect_identical(is.na(history$metrics$val_loss), c(TRUE, FALSE, TRUE, FALSE, TRUE))
  expect_identical(unlist(lapply(history$metrics, class), use.names = FALSE), rep("numeric", 4))

  named <- fit(classifier(), iris_x, iris_y, epochs = 3, validation_split = 0.2, validation_freq = list(1, 3), verbose = 0)
  expect_identical(is.na(named$metrics$val_loss), c(FALSE, TRUE, FALSE))
})

test_that("a saved history can be read, printed and plotted in a session without Python", {
  skip_on_cran()
  history <- fit(classifier(), iris_x, iris_y, epochs = 2, verbose = 0)
  path <- withr::local_tempfile()
  saveRDS(history, path)
  printed <- callr::r(function(path) {
    library(kerasfit)
    history <- readRDS(path)
    pdf(NULL)
    plot(history)
    list(rows = nrow(as.data.frame(history)), lines = capture.output(print(history)), python = reticulate::py_available())
  }, list(path), env = c(callr::rcmd_safe_env(), RETICULATE_PYTHON = "/nonexistent"))
  expect_identical(printed$rows, 4L)
  expect_identical(printed$lines, capture.output(print(history)))
  expect_false(printed$python)
})
