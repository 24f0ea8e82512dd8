test_that("a duration that rounds up to the next unit is shown in that unit", {
  expect_identical(
    vapply(c(0.9994, 0.9996, 59.94, 59.97, 3599.4, 3599.6, 7199.9), format_seconds, ""),
    c("999ms", "1.0s", "59.9s", "1m 00s", "59m 59s", "1h 00m", "2h 00m")
  )
})

test_that("tidy(), glance() and summary() describe a history", {
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
