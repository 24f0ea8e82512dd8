skip_on_cran()

test_that("a double where Keras expects an integer is an error that shows how to write it", {
  calls <- list(
    "`units = 16L`" = quote(keras$layers$Dense(units = 16)),
    "`10L`, `3L`" = quote(keras$layers$Embedding(10, 3)),
    "`list(4L)`" = quote(keras$Input(list(4)))
  )
  for (hint in names(calls)) {
    expect_error(eval(calls[[hint]]), hint, fixed = TRUE, class = "kerasfit_error_python")
  }
  expect_error(
    keras$layers$Dense(16L, activation = "rleu"),
    "rleu",
    class = "python.builtin.ValueError"
  )
  expect_error(
    keras$Sequential(list(keras$Input(list(4L, 2L)), keras$layers$LSTM(16))),
    "with an L",
    class = "kerasfit_error_python"
  )
  expect_s3_class(keras$layers$Dense, "python.builtin.type")
  expect_true(reticulate::is_py_object(keras$layers$Dense))
})
