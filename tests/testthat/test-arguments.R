skip_on_cran()

test_that("class weights of one output become sample weights of that output", {
  two_outputs <- function() {
    set_random_seed(1)
    x <- keras$Input(list(4L))
    model <- keras$Model(
      x,
      list(
        keras$layers$Dense(3L, activation = "softmax", name = "kind")(x),
        keras$layers$Dense(1L, name = "size")(x)
      )
    )
    compile(model, "sgd", list("sparse_categorical_crossentropy", "mse"))
  }
  y <- list(kind = iris_y, size = iris_x[, 1])
  weights <- list(kind = c(1, 1, 5)[as.integer(iris_y)], size = rep(1, 150))
  expect_equal(
    weights_after(two_outputs(), iris_x, y, class_weight = list(kind = list(virginica = 5))),
    weights_after(two_outputs(), iris_x, y, sample_weight = weights)
  )
})

test_that("options(kerasfit.kernels = FALSE) or KERASFIT_KERNELS=0 turns faster functions off", {
  withr::local_envvar(KERASFIT_KERNELS = NA)
  expect_true(kernels_to_core(quote(fit())))
  withr::local_envvar(KERASFIT_KERNELS = "0")
  expect_false(kernels_to_core(quote(fit())))
  withr::local_options(kerasfit.kernels = TRUE)
  expect_true(kernels_to_core(quote(fit())))
  withr::local_options(kerasfit.kernels = "maybe")
  expect_error(
    kernels_to_core(quote(fit())),
    "must be TRUE or FALSE, not",
    class = "kerasfit_error_argument"
  )
})

test_that("errors about options name them as they are written in code", {
  values <- list(
    kerasfit.plan = "fast",
    kerasfit.plan = NA,
    kerasfit.kernels = NA,
    kerasfit.allow_missing = "yes",
    kerasfit.interrupt = "wait"
  )
  for (i in seq_along(values)) {
    withr::with_options(values[i], {
      error <- expect_error(
        fit(classifier(), iris_x, iris_y, verbose = 0),
        sprintf("`options(%s = )` must be ", names(values)[i]),
        fixed = TRUE,
        class = "kerasfit_error_argument"
      )
    })
    expect_identical(error$argument, names(values)[i])
  }
})

test_that("class weights by code can be a list or a vector", {
  y <- as.integer(iris_y) - 1L
  by_sample <- weights_after(classifier(), iris_x, y, sample_weight = c(1, 5, 2)[y + 1])
  as_list <- list("0" = 1, "1" = 5, "2" = 2)
  expect_equal(weights_after(classifier(), iris_x, y, class_weight = as_list), by_sample)
  expect_equal(weights_after(classifier(), iris_x, y, class_weight = unlist(as_list)), by_sample)
})

test_that("class weights can name levels of a factor, and other levels have weight 1", {
  by_sample <- weights_after(
    classifier(),
    iris_x,
    iris_y,
    sample_weight = ifelse(iris_y == "virginica", 5, 1)
  )
  expect_equal(
    weights_after(classifier(), iris_x, iris_y, class_weight = list(virginica = 5)),
    by_sample
  )
  expect_equal(
    weights_after(classifier(), iris_x, iris_y, class_weight = c(virginica = 5)),
    by_sample
  )
  start <- -31
  batch <- function() {
    start <<- start + 32
    rows <- start:min(start + 31, 150)
    list(iris_x[rows, ], iris_y[rows])
  }
  in_batches <- weights_after(
    classifier(),
    batch,
    steps_per_epoch = 5,
    class_weight = c(virginica = 5)
  )
  expect_equal(in_batches, by_sample)
})

test_that("weights for classes that do not exist are errors, also with a generator", {
  batch <- function() list(iris_x, iris_y)
  expect_error(
    fit(classifier(), batch, steps_per_epoch = 1, class_weight = c(virginia = 5), verbose = 0),
    '"virginia" that does not exist: `y` has the levels setosa',
    class = "kerasfit_error_argument"
  )
})

test_that("names inside class weights, as in values taken from a table, are ignored", {
  counts <- table(as.integer(iris_y) - 1L)
  named <- list("0" = 2 / counts["0"], "1" = 1 / counts["1"], "2" = 3 / counts["2"])
  plain <- list("0" = 2 / 50, "1" = 1 / 50, "2" = 3 / 50)
  expect_identical(
    weights_after(classifier(), iris_x, as.integer(iris_y) - 1L, class_weight = named),
    weights_after(classifier(), iris_x, as.integer(iris_y) - 1L, class_weight = plain)
  )
  by_level <- list(setosa = c(a = 2), virginica = c(virginica = 3), versicolor = 1)
  expect_identical(
    weights_after(classifier(), iris_x, iris_y, class_weight = by_level),
    weights_after(
      classifier(),
      iris_x,
      iris_y,
      class_weight = c(setosa = 2, virginica = 3, versicolor = 1)
    )
  )
})
