skip_if_not(reticulate::py_module_available("pyarrow"), "pyarrow is not installed")

parquet_folder <- function(env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  pandas <- reticulate::import("pandas")
  flowers <- data.frame(iris_x, species = as.character(iris_y))
  names(flowers)[1:4] <- c("a", "b", "c", "d")
  frame <- reticulate::r_to_py(flowers)
  frame <- frame$astype(list(species = "category"))
  for (part in 0:2) {
    file <- file.path(folder, sprintf("part-%d.parquet", part))
    frame$iloc[reticulate::py_eval(sprintf("slice(%d, %d)", part * 50, part * 50 + 50))]$to_parquet(
      file
    )
  }
  folder
}

test_that("a folder of Parquet files trains as a data frame with its rows", {
  folder <- parquet_folder()
  model <- classifier()
  expected <- fit(model, iris_x, iris_y, epochs = 2, shuffle = FALSE, verbose = 0)
  again <- classifier()
  history <- fit(again, folder, "species", epochs = 2, shuffle = FALSE, verbose = 0)
  expect_equal(history$metrics, expected$metrics, tolerance = 1e-5)
  expect_identical(history$params$levels, levels(iris_y))
  outputs <- predict(model, iris_x, verbose = 0)
  expect_equal(predict(again, folder, verbose = 0), outputs, tolerance = 1e-5)
  expect_equal(
    evaluate(again, folder, "species", verbose = 0),
    evaluate(model, iris_x, iris_y, verbose = 0),
    tolerance = 1e-5
  )
})

test_that("text that is the name of a folder without Parquet files stays text", {
  withr::local_dir(withr::local_tempdir())
  dir.create("data")
  error <- expect_error(predict(classifier(), "data", verbose = 0), class = "kerasfit_error_data")
  expect_match(conditionMessage(error), "is text", fixed = TRUE)
})

test_that("a Parquet file that does not exist is an error that names it", {
  for (code in expression(
    fit(classifier(), "nowhere/flowers.parquet", "species", verbose = 0),
    predict(classifier(), "nowhere/flowers.parquet", verbose = 0)
  )) {
    error <- expect_error(eval(code), class = "kerasfit_error_data")
    expect_match(conditionMessage(error), "does not exist: nowhere/flowers.parquet", fixed = TRUE)
    expect_identical(error$argument, "x")
  }
})

test_that("an arrow::open_dataset() is read by its files", {
  folder <- parquet_folder()
  # what kerasfit uses of an object of the package arrow, which need not be installed
  dataset <- structure(
    list2env(list(files = list.files(folder, full.names = TRUE))),
    class = c("FileSystemDataset", "Dataset", "ArrowObject", "R6")
  )
  model <- classifier()
  history <- fit(model, dataset, "species", validation_data = folder, verbose = 0)
  expect_identical(history$params$samples, 150L)
  expect_identical(history$params$validation_samples, 150L)
  query <- structure(list(), class = "arrow_dplyr_query")
  error <- expect_error(fit(model, query, "species", verbose = 0), class = "kerasfit_error_data")
  expect_match(conditionMessage(error), "arrow::write_dataset", fixed = TRUE)
})

test_that("a column that the files do not have is an error that lists those they have", {
  folder <- parquet_folder()
  model <- classifier()
  error <- expect_error(fit(model, folder, "kind", verbose = 0), class = "kerasfit_error_data")
  expect_identical(error$argument, "y")
  expect_match(conditionMessage(error), "a, b, c, d and species", fixed = TRUE)
})
