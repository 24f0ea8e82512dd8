# Plots of histories: R/plot.R, R/plot-base.R and R/plot-ggplot.R.

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

test_that("the axis has whole epochs, and a single epoch can be plotted", {
  expect_identical(whole_breaks(c(0.8, 3.2)), c(1, 2, 3))
  expect_identical(whole_breaks(c(6, 6)), 6)
  withr::local_pdf(NULL)
  one <- a_history(list(loss = 1, val_loss = 2))
  for (method in plot_methods) {
    expect_silent(capture.output(print(plot(one, method = method, smooth = TRUE))))
  }
})

test_that("arguments of base graphics take precedence, and many panels fit", {
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

test_that("an outlier does not flatten the curve of the other values", {
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

test_that("labels of outliers do not overlap", {
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

test_that("axes can be logarithmic", {
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

test_that("plot() raises errors for objects that are not histories and for a second history", {
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

test_that("a base plot has room for wide axis labels", {
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

test_that("autoplot() returns the ggplot", {
  skip_if_not_installed("ggplot2")
  history <- a_history(list(loss = 2:1))
  expected <- ggplot2::ggplot_build(plot(history, method = "ggplot2", log = "y"))
  expect_equal(ggplot2::ggplot_build(ggplot2::autoplot(history, log = "y"))$data, expected$data)
})

test_that("plots match the stored pictures", {
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

test_that("smoothing a few points causes no warnings", {
  skip_if_not_installed("ggplot2")
  withr::local_pdf(NULL)
  for (epochs in c(2, 5, 9, 10, 30)) {
    expect_silent(print(plot(a_history(list(loss = 1 / seq_len(epochs))), smooth = TRUE)))
  }
})

test_that("plot() raises errors for wrong arguments and for histories without values", {
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
    "`metrics` contains \"acc\"",
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
