test_that("fit() in a cached knitr chunk warns once for each document", {
  skip_if_not_installed("knitr")
  directory <- withr::local_tempdir()
  withr::local_dir(directory)
  model <- regressor()
  environment <- rlang::env(model = model, x = iris_x, y = iris_x[, 1])
  knitted <- function(name, ...) {
    chunk <- function(options) {
      c(sprintf("```{r, %s}", options), "h <- fit(model, x, y, verbose = 0)", "```", "")
    }
    writeLines(unlist(lapply(c(...), chunk)), paste0(name, ".Rmd"))
    lines <- readLines(knitr::knit(paste0(name, ".Rmd"), quiet = TRUE, envir = environment))
    sum(grepl("This chunk is cached", lines))
  }
  expect_identical(knitted("cached", "cache = TRUE", "cache = FALSE", "cache = TRUE"), 1L)
  expect_identical(knitted("level", "cache = 2"), 1L)
  expect_identical(knitted("not", "cache = FALSE", "cache = 0"), 0L)
  expect_silent(fit(model, iris_x, iris_x[, 1], verbose = 0))
})
