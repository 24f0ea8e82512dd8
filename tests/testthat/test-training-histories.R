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
