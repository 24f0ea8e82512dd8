skip_on_cran()

test_that("summary() prints the layers compactly, and shows which are trainable if not all are", {
  model <- classifier()
  printed <- capture.output(value <- withVisible(summary(model)))
  expect_match(printed, "Total params: 67", all = FALSE)
  expect_no_match(printed, "\u2502 *[YN] *\u2502")
  expect_false(any(printed == ""))
  expect_identical(value, list(value = paste(printed, collapse = "\n"), visible = FALSE))
  layer <- model$layers[[1]]
  layer$trainable <- FALSE
  expect_match(capture.output(summary(model)), "\u2502 *N *\u2502", all = FALSE)
  expect_no_match(capture.output(summary(model, show_trainable = FALSE)), "\u2502 *[YN] *\u2502")
  expect_lte(max(nchar(capture.output(summary(model, line_length = 50)))), 50)
})
