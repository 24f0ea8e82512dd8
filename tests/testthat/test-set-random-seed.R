skip_on_cran()
skip_if_not_installed("callr")

test_that("set_random_seed() seeds R and Keras", {
  draw <- function() {
    set_random_seed(42)
    list(
      runif(1),
      keras$random$uniform(list(1L))$numpy(),
      keras$layers$Dense(2L)$kernel_initializer(list(2L, 2L))$numpy()
    )
  }
  expect_identical(draw(), draw())
  expect_error(
    set_random_seed("a"),
    "`seed` must be a whole number",
    class = "kerasfit_error_argument"
  )
  expect_error(set_random_seed(-1), "not -1", class = "kerasfit_error_argument")
})
