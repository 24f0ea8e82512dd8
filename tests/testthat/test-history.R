plot_methods <- c("base", if (rlang::is_installed("ggplot2")) "ggplot2")

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

test_that("a history that another package made has epochs from 1", {
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

test_that("NaN is a value, NA is not", {
  history <- a_history(list(loss = c(1, 0.5, NaN), mae = c(2, Inf, NA), val_loss = c(3, NA, NA)))
  expect_match(format(history), "^loss +NaN +NA$", all = FALSE)
  expect_match(format(history), "^mae +NA +NA$", all = FALSE)
  table <- summary(history)
  expect_identical(table$last, c(NaN, Inf, 3))
  expect_identical(table$best, c(0.5, 2, 3))
  expect_identical(summary(a_history(list(loss = c(NA, NaN, 1))))$first, NaN)
})

test_that("a decimal comma is no trouble", {
  withr::local_options(OutDec = ",")
  history <- a_history(list(loss = 0.25), samples = 14400L)
  expect_silent(lines <- format(history))
  expect_match(lines, "14,400 samples", all = FALSE)
  expect_silent(summary(history))
})

test_that("a duration that rounds to the next unit is in that one", {
  expect_identical(
    vapply(c(0.9994, 0.9996, 59.94, 59.97, 3599.4, 3599.6, 7199.9), format_seconds, ""),
    c("999ms", "1.0s", "59.9s", "1m 00s", "59m 59s", "1h 00m", "2h 00m")
  )
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

test_that("the plot has a panel for each metric and a line for each data set", {
  skip_if_not_installed("ggplot2")
  history <- a_history(
    list(loss = c(3, 2), mae = c(1, 0.5), val_loss = c(4, 3), val_mae = c(2, 1)),
    epoch = 6:7
  )
  plot <- plot(history)
  expect_s3_class(plot, "ggplot")
  built <- ggplot2::ggplot_build(plot)
  expect_identical(nrow(built$layout$layout), 2L)
  expect_equal(built$data[[1]]$xintercept, c(7, 7)) # where val_loss is lowest
  expect_setequal(built$data[[2]]$x, 6:7)
  expect_identical(unique(plot(history, metrics = "mae")$data$metric), factor("mae"))
  expect_s3_class(plot(history, theme_bw = TRUE), "ggplot")
})

test_that("epochs on the axis are whole, and one epoch can be plotted", {
  expect_identical(whole_breaks(c(0.8, 3.2)), c(1, 2, 3))
  expect_identical(whole_breaks(c(6, 6)), 6)
  withr::local_pdf(NULL)
  one <- a_history(list(loss = 1, val_loss = 2))
  for (method in plot_methods) {
    expect_silent(capture.output(print(plot(one, method = method, smooth = TRUE))))
  }
})

test_that("with base graphics the user's arguments win, and many panels fit", {
  withr::local_pdf(NULL)
  history <- a_history(list(loss = c(3, 2), val_loss = c(4, 3)))
  for (own in list(
    list(xlab = "Epoche"),
    list(ylab = "Wert"),
    list(type = "b"),
    list(las = 2, xaxt = "n")
  )) {
    expect_silent(rlang::inject(plot(history, method = "base", !!!own)))
  }
  for (panels in c(9, 24, 60)) {
    many <- stats::setNames(rep(list(3:1), panels), paste0("metric_", seq_len(panels)))
    expect_silent(plot(a_history(many), method = "base"))
  }
})

test_that("a value far away does not flatten the curve of the others", {
  skip_if_not_installed("ggplot2")
  values <- c(15000, 3, 2, 1.5, 1.2, 1, 0.9, 0.85)
  expect_lt(clamp_outliers(values)[1], 4)
  expect_identical(clamp_outliers(values)[-1], values[-1])
  for (ordinary in list(
    1 / 1:50,
    exp(-1:30),
    c(2.3, 0.4, rep(0.3, 20) + 1:20 / 100),
    rep(1, 9),
    c(5, 1)
  )) {
    expect_identical(clamp_outliers(ordinary), ordinary)
  }
  data <- plot(a_history(list(loss = values)))$data
  expect_identical(data$value, values)
  expect_identical(which(data$shown != data$value), 1L)
})

test_that("values at the edge are not written over each other", {
  values <- c(4079, 2210, 930, 520, 10 * exp(-(5:400) / 50))
  for (method in plot_methods) {
    file <- withr::local_tempfile(fileext = ".pdf")
    pdf(file, compress = FALSE, useKerning = FALSE)
    plotted <- plot(a_history(list(loss = values)), method = method)
    if (method == "ggplot2") {
      print(plotted)
    }
    dev.off()
    written <- iconv(readLines(file), "latin1", "UTF-8")
    expect_match(written, "(4079) Tj", fixed = TRUE, all = FALSE)
    expect_no_match(written, "\\((2210|930|520)\\) Tj")
  }
})

test_that("axes may be logarithmic", {
  skip_if_not_installed("ggplot2")
  history <- a_history(list(loss = c(10, 1, 0.1), balance = c(-1, 0, 1)))
  plot <- plot(history, log = "y")
  expect_identical(plot$data$value, c(10, 1, 0.1, 1))
  expect_equal(ggplot2::layer_data(plot)$y[1:3], c(1, 0, -1))
  withr::local_pdf(NULL)
  for (log in c("x", "y", "xy")) {
    expect_silent(plot(history, method = "base", log = log))
  }
  expect_error(plot(history, log = "z"), "`log` must be one of", class = "kerasfit_error_argument")
  expect_error(plot(a_history(list(loss = c(0, -1))), log = "y"), "no finite positive values")
})

test_that("several runs are compared in one plot and in one data frame", {
  small <- a_history(list(loss = c(3, 2), val_loss = c(4, 3)))
  large <- a_history(list(loss = c(2, 1, 0.5)))
  runs <- training_histories(small = small, large = large)
  expect_identical(training_histories(list(small = small, large = large)), runs)
  expect_identical(training_histories(runs), runs)
  expect_identical(runs["large"], training_histories(large = large))
  expect_identical(names(training_histories(small, large)), c("1", "2"))
  data <- as.data.frame(runs)
  expect_identical(as.character(data$run), rep(c("small", "large"), c(4, 3)))
  expect_identical(data[5:7, 1:4], as.data.frame(large), ignore_attr = "row.names")
  expect_output(
    print(runs),
    "small:\n  Training history: epochs 1 to 2.*large:\n  Training history: epochs 1 to 3"
  )
  withr::local_pdf(NULL)
  expect_silent(plotted <- plot(runs, method = "base"))
  expect_identical(levels(plotted$run), c("small", "large"))
  expect_identical(nrow(plotted), 7L)
  skip_if_not_installed("ggplot2")
  expect_length(unique(ggplot2::layer_data(plot(runs))$colour), 2)
  expect_s3_class(ggplot2::autoplot(runs), "ggplot")
})

test_that("what are no histories is refused, and a second history is not silently left out of a plot", {
  history <- a_history(list(loss = c(3, 2)))
  for (wrong in list(list(), list(history, 1), list(list(history, NULL)), list(iris))) {
    error <- expect_error(do.call(training_histories, wrong), class = "kerasfit_error_argument")
    expect_identical(error$argument, "...")
  }
  error <- expect_error(
    plot(history, history),
    "`y` must be missing.*training_histories",
    class = "kerasfit_error_argument"
  )
  expect_identical(error$argument, "y")
})

test_that("plot() of other lists is R's own", {
  expect_null(getS3method("plot", "list", optional = TRUE))
  withr::local_pdf(NULL)
  expect_null(plot(list(x = 1:3, y = 1:3), m = "hello"))
  expect_error(plot(list(a = a_history(list(loss = c(3, 2))))), "'x' is a list")
})

test_that("head() and tail() are of epochs", {
  history <- a_history(list(loss = c(4, 3, 2)), epoch = 2:4)
  expect_identical(tail(history, 1)$metrics$loss, 2)
  expect_identical(tail(history)$metrics$loss, c(4, 3, 2))
  expect_identical(head(history, 2)$params$epoch, 2:3)
  expect_identical(head(history, -1), head(history, 2))
})

test_that("wide labels of the axis have room in a base plot", {
  pdf(NULL)
  withr::defer(dev.off())
  left <- function(loss) {
    plot(a_history(list(loss = loss)), method = "base", panel.first = given <<- par("mar")[2])
    given
  }
  given <- NULL
  expect_identical(left(c(3, 2)), 3.5)
  expect_gt(left(c(1.2e-5, 1.05e-5)), 4)
})

test_that("autoplot() is the ggplot", {
  skip_if_not_installed("ggplot2")
  history <- a_history(list(loss = 2:1))
  expected <- ggplot2::ggplot_build(plot(history, method = "ggplot2", log = "y"))
  expect_equal(ggplot2::ggplot_build(ggplot2::autoplot(history, log = "y"))$data, expected$data)
})

test_that("runs that go on from one another are joined by c()", {
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
  expect_error(c(first, 1), "other histories only", class = "kerasfit_error_argument")
})

test_that("[ takes epochs", {
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
    "to keep or, negative, epochs to leave out, not both",
    class = "kerasfit_error_argument"
  )
  error <- expect_error(
    history[NA_integer_],
    "`i` must have no missing values",
    class = "kerasfit_error_argument"
  )
  expect_identical(error$argument, "i")
})

test_that("a history is tidy", {
  history <- a_history(
    list(loss = c(3, 2, 1), accuracy = c(0.1, 0.9, 0.8), val_loss = c(4, 3, 3.5)),
    seconds = c(1, 2, 3)
  )
  expect_identical(as.data.frame(generics::tidy(history)), as.data.frame(history))
  if (rlang::is_installed("tibble")) {
    expect_identical(tibble::as_tibble(history), tibble::as_tibble(as.data.frame(history)))
  }
  expect_identical(
    as.data.frame(generics::glance(history)),
    data.frame(
      epochs = 3L,
      best_epoch = 2L,
      seconds = 6,
      seconds_per_epoch = 2,
      interrupted = FALSE,
      loss = 1,
      accuracy = 0.8,
      val_loss = 3.5
    )
  )
  expect_snapshot(summary(history))
  expect_snapshot(summary(a_history(list(), epoch = integer())))
  expect_identical(generics::glance(a_history(list(), epoch = integer()))$epochs, 0L)
})

test_that("plots look as they did", {
  skip_if_not_installed("vdiffr")
  skip_if_not_installed("ggplot2")
  skip_if_not(
    startsWith(format(utils::packageVersion("ggplot2")), "3.4."),
    "the pictures are those of ggplot2 3.4"
  )
  metrics <- list(
    loss = c(150, 1.2, 0.8, 0.6, 0.55, 0.5),
    accuracy = c(0.2, 0.5, 0.6, 0.7, 0.75, 0.8),
    val_loss = c(1.5, 1.1, 0.9, 0.8, 0.82, 0.85),
    val_accuracy = c(NA, 0.45, NA, 0.65, NA, 0.7)
  )
  history <- a_history(metrics)
  vdiffr::expect_doppelganger("ggplot2", plot(history))
  vdiffr::expect_doppelganger(
    "ggplot2, two runs",
    plot(training_histories(a = history, b = history[3:6]))
  )
  vdiffr::expect_doppelganger("base", function() plot(history, method = "base"))
  vdiffr::expect_doppelganger("base, two runs", function() {
    plot(training_histories(a = history, b = history[3:6]), method = "base")
  })
})

test_that("few points are smoothed without warnings", {
  skip_if_not_installed("ggplot2")
  withr::local_pdf(NULL)
  for (epochs in c(2, 5, 9, 10, 30)) {
    expect_silent(print(plot(a_history(list(loss = 1 / seq_len(epochs))), smooth = TRUE)))
  }
})

test_that("what cannot be plotted is refused", {
  diverged <- a_history(list(loss = c(NaN, Inf)))
  for (method in plot_methods) {
    expect_error(
      plot(diverged, method = method),
      "no finite values",
      class = "kerasfit_error_argument"
    )
  }
  history <- a_history(list(loss = c(2, 1)))
  expect_error(
    plot(history, metrics = "acc"),
    "`metrics` names \"acc\"",
    class = "kerasfit_error_argument"
  )
  expect_error(
    plot(history, method = "lattice"),
    "`method` must be one of",
    class = "kerasfit_error_argument"
  )
  expect_error(plot(a_history(list(), epoch = integer())), "nothing to plot")
  for (call in expression(
    plot(diverged),
    plot(history, metrics = "acc"),
    plot(training_histories(diverged), log = "z")
  )) {
    expect_identical(conditionCall(tryCatch(eval(call), error = identity)), quote(plot()))
  }
})

test_that("a history of training has what its help page says", {
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
