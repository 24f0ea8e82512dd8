skip_on_cran()

build <- function(units = 8, rate = 0.01) {
  model <- keras$Sequential(list(
    keras$Input(list(4L)),
    keras$layers$Dense(as.integer(units), activation = "relu"),
    keras$layers$Dense(3L, activation = "softmax")
  ))
  optimizer <- keras$optimizers$Adam(rate)
  compile(model, optimizer, "sparse_categorical_crossentropy", metrics = "accuracy")
}

test_that("cross_validate() trains a new model for each fold and predicts the rows left out", {
  cv <- cross_validate(build, iris_x, iris_y, folds = 3, epochs = 4, seed = 1)
  expect_identical(cv$metrics$fold, 1:3)
  expect_named(cv$metrics, c("repeat", "fold", "loss", "accuracy", "seconds", "error"))
  expect_identical(sort(unlist(cv$folds$held_out)), 1:150)
  expect_identical(dim(cv$predictions), c(150L, 3L))
  expect_identical(colnames(cv$predictions), levels(iris_y))
  expect_false(anyNA(cv$predictions))
  # classes have equal shares
  for (rows in cv$folds$held_out) {
    expect_true(all(table(iris_y[rows]) %in% 16:17))
  }

  # the second fold by hand
  rows <- cv$folds$held_out[[2]]
  right <- max.col(cv$predictions[rows, ]) == as.integer(iris_y[rows])
  expect_equal(mean(right), cv$metrics$accuracy[[2]], tolerance = 1e-6)
  expect_equal(cv$histories[[2]]$metrics$val_loss[[4]], cv$metrics$loss[[2]], tolerance = 1e-5)
  history <- cv$histories[[2]]
  expect_identical(history$params$samples, 150L - length(rows))
  expect_s3_class(history, "keras_training_history")
})

test_that("the same seed gives the same results, and the session's generators are unchanged", {
  set.seed(5)
  one <- cross_validate(build, iris_x, iris_y, folds = 2, epochs = 2)
  after <- runif(1)
  set.seed(5)
  two <- cross_validate(build, iris_x, iris_y, folds = 2, epochs = 2)
  expect_identical(one$predictions, two$predictions)
  expect_identical(one$folds, two$folds)
  expect_identical(runif(1), after)
  three <- cross_validate(build, iris_x, iris_y, folds = 2, epochs = 2, seed = 6)
  expect_false(identical(one$folds, three$folds))
})

test_that("workers give the results of this process", {
  skip_if_not_installed("future.apply")
  skip_if_not_installed("globals")
  units <- 5
  helper <- function() build(units)
  here <- cross_validate(helper, iris_x, iris_y, folds = 3, epochs = 2, seed = 1)
  there <- cross_validate(
    helper,
    iris_x,
    iris_y,
    folds = 3,
    epochs = 2,
    seed = 1,
    workers = 2,
    callbacks = callback_early_stopping("loss", patience = 10)
  )
  expect_equal(there$predictions, here$predictions, tolerance = 1e-5)
  expect_equal(there$metrics[1:4], here$metrics[1:4], tolerance = 1e-5)
  expect_s3_class(future::plan(), "sequential")
})

test_that("a grid trains each setting, and print(), summary() and as.data.frame() show them", {
  grid <- expand.grid(units = c(2, 6), rate = c(0.01, 0.1))
  cv <- cross_validate(build, iris_x, iris_y, folds = 2, epochs = 2, grid = grid, seed = 1)
  expect_identical(nrow(cv$metrics), 8L)
  expect_identical(cv$runs$units, grid$units)
  expect_length(cv$predictions, 4)
  table <- summary(cv)
  expect_identical(nrow(table), 8L)
  loss <- cv$metrics$loss[cv$metrics$units == 6 & cv$metrics$rate == 0.1]
  row <- table[table$units == 6 & table$rate == 0.1 & table$metric == "loss", ]
  expect_equal(c(row$mean, row$sd), c(mean(loss), sd(loss)))
  expect_output(print(cv), "8 fits, 2 folds, 4 settings, 150 rows")
  data <- as.data.frame(cv)
  expect_identical(nrow(data), 8L * 2L * 4L)
  expect_named(data, c("units", "rate", "repeat", "fold", "epoch", "value", "metric", "data"))
  skip_if_not_installed("ggplot2")
  expect_s3_class(plot(cv, metrics = "loss"), "ggplot")
})

test_that("folds may be groups, repeats, numbers for each row, or rows", {
  set.seed(1)
  groups <- rep(c("a", "b", "c", "d", "e"), length.out = 150)
  folds_of <- function(...) {
    cross_validate(build, iris_x, iris_y, ..., epochs = 1)$folds
  }
  grouped <- folds_of(folds = 3, groups = groups)
  for (rows in grouped$held_out) {
    expect_length(intersect(groups[rows], groups[-rows]), 0)
  }
  expect_identical(sort(unlist(grouped$held_out)), 1:150)
  repeated <- folds_of(folds = 2, repeats = 2)
  expect_identical(repeated[["repeat"]], c(1L, 1L, 2L, 2L))
  expect_false(identical(repeated$held_out[[1]], repeated$held_out[[3]]))
  given <- folds_of(folds = rep(c("x", "y", NA), each = 50))
  expect_identical(given$fold, c("x", "y"))
  expect_identical(given$held_out[[2]], 51:100)
  listed <- folds_of(folds = list(1:20, 30:60))
  expect_identical(listed$held_out, list(1:20, 30:60))
  skip_if_not_installed("rsample")
  made <- rsample::vfold_cv(data.frame(row = 1:150), v = 3)
  of_rsample <- folds_of(folds = made)
  expect_identical(of_rsample$fold, c("Fold1", "Fold2", "Fold3"))
  expect_identical(of_rsample$held_out[[2]], as.integer(made$splits[[2]], data = "assessment"))
})

test_that("overlapping, duplicated and sampled rows, unused levels and metric names are handled", {
  fit_folds <- function(...) cross_validate(build, iris_x, iris_y, ..., epochs = 1, seed = 1)
  cv <- fit_folds(folds = list(c(1, 1, 2), 2:3))
  expect_identical(cv$folds$held_out, list(1:2, 2:3))
  expect_identical(which(!is.na(cv$predictions[, 1])), 1:3)
  unused <- factor(rep(c("a", "b", "c"), 50), levels = c("z", "y", "a", "b", "c"))
  cv <- fit_folds(folds = 2, groups = unused)
  expect_identical(sort(unlist(cv$folds$held_out)), 1:150)
  named <- cross_validate(
    function(loss) build(),
    iris_x,
    iris_y,
    grid = data.frame(loss = c(0.1, 0.1 + 1e-11)),
    folds = 2,
    seed = 1
  )
  expect_true(all(c("loss", "loss_metric", "accuracy") %in% names(named$metrics)))
  expect_identical(summary(named)$fits, rep(2L, 4))
  skip_if_not_installed("rsample")
  split <- rsample::rolling_origin(data.frame(row = 1:150), 100, 10, skip = 20)
  cv <- fit_folds(folds = split)
  expect_identical(cv$folds$inside[[1]], 1:100)
  expect_identical(cv$histories[[1]]$params$samples, 100L)
})

test_that("data frames, lists of inputs, weights and validation_split work", {
  data <- datasets::iris[iris_rows, ]
  cv <- cross_validate(
    function() {
      model <- keras$Sequential(list(keras$layers$Dense(1L)))
      compile(model, "adam", "mse", weighted_metrics = "mae")
    },
    data[2:4],
    data$Sepal.Length,
    folds = 2,
    epochs = 2,
    validation_split = 0.2,
    sample_weight = seq(0.5, 1, length.out = 150),
    seed = 1
  )
  expect_identical(dim(cv$predictions), c(150L, 1L))
  expect_identical(cv$histories[[1]]$params$validation_samples, 15L)
  two_inputs <- function() {
    inputs <- list(keras$Input(list(2L)), keras$Input(list(2L)))
    both <- keras$layers$concatenate(inputs)
    outputs <- list(a = keras$layers$Dense(1L)(both), b = keras$layers$Dense(2L)(both))
    model <- keras$Model(inputs, outputs)
    compile(model, "adam", list(a = "mse", b = "mse"))
  }
  x <- list(iris_x[, 1:2], iris_x[, 3:4])
  y <- list(a = iris_x[, 1], b = iris_x[, 2:3])
  cv <- cross_validate(two_inputs, x, y, folds = 2, seed = 1)
  expect_identical(lapply(cv$predictions, dim), list(a = c(150L, 1L), b = c(150L, 2L)))
})

test_that("an error in one fit is a warning, and in all fits an error", {
  count <- 0
  sometimes <- function() {
    count <<- count + 1
    if (count == 2) {
      stop("no memory left")
    }
    build()
  }
  expect_warning(
    cv <- cross_validate(sometimes, iris_x, iris_y, folds = 3, seed = 1),
    "1 of 3 fits failed; the first error, in fold 2: no memory left",
    class = "kerasfit_warning"
  )
  expect_identical(is.na(cv$metrics$error), c(TRUE, FALSE, TRUE))
  expect_identical(which(is.na(cv$predictions[, 1])), cv$folds$held_out[[2]])
  expect_output(print(cv), "1 fit failed")
  expect_error(
    cross_validate(function() stop("no memory left"), iris_x, iris_y, folds = 2),
    "All fits failed.*no memory left",
    class = "kerasfit_error"
  )
})

test_that("invalid arguments are errors before the first fit", {
  wrong <- function(message, build. = build, x = iris_x, y = iris_y, ...) {
    expect_error(cross_validate(build., x, y, ...), message, class = "kerasfit_error_argument")
  }
  model <- build()
  wrong("`build` must be a function that returns a compiled model", model)
  wrong("`y` has 10 rows, and `x` has 150", y = iris_y[1:10])
  wrong("`folds` must be a whole number between 2 and the number of rows, 150, not 1", folds = 1)
  wrong("`folds` must have a value for each", folds = 1:3)
  wrong("`folds` must contain numbers of rows", folds = list(1:200))
  wrong("`repeats` must be", repeats = 0)
  wrong("`groups` applies only", folds = list(1:9), groups = rep(1:3, 50))
  wrong("`repeats` applies only", folds = list(1:9), repeats = 2)
  wrong("`groups` must not have missing values", folds = 2, groups = c(NA, rep(1:2, 74), 1))
  wrong("`folds` must leave rows to train on", folds = rep(1, 150))
  wrong("`grid` must not have a column named `fold`", grid = data.frame(fold = 1))
  wrong("must have the same number of rows, not 150, 2", x = list(iris_x, 1:2))
  wrong("`workers` must be", workers = "two")
  wrong("`grid` has the column `depth`", grid = data.frame(depth = 1))
  wrong("no argument `epoch`", epoch = 1)
  wrong("`x` must be a vector", x = batches())
  wrong("`seed` must be", seed = -1)
  expect_warning(
    cross_validate(function() model, iris_x, iris_y, folds = 2),
    "must return a new model each time"
  )
})

test_that("the processes of workers and of background fits end with a session that is killed", {
  skip_unless_all()
  skip_on_os("windows")
  skip_if_not_installed("future.apply")
  skip_if_not_installed("globals")
  pids <- withr::local_tempdir()
  session <- callr::r_bg(
    function(pids) {
      library(kerasfit)
      build <- function() {
        model <- keras$Sequential(list(keras$layers$Dense(64L), keras$layers$Dense(1L)))
        compile(model, "adam", "mse")
      }
      note <- function() file.create(file.path(pids, Sys.getpid()))
      x <- matrix(rnorm(1e5), 1e4)
      noting <- list(on_train_begin = function(logs) note())
      job <- fit_background(build(), x, x[, 1], epochs = 1e6, callbacks = noting)
      cross_validate(build, x, x[, 1], folds = 2, epochs = 1e6, workers = 2, callbacks = noting)
    },
    list(pids),
    env = c(callr::rcmd_safe_env(), session_backend)
  )
  withr::defer(session$kill_tree())
  deadline <- Sys.time() + 120
  while (length(dir(pids)) < 3 && Sys.time() < deadline) {
    Sys.sleep(0.2)
  }
  running <- as.integer(dir(pids))
  expect_length(running, 3)
  session$signal(tools::SIGKILL)
  is_alive <- function(pid) tools::pskill(pid, 0)
  deadline <- Sys.time() + 15
  while (any(is_alive(running)) && Sys.time() < deadline) {
    Sys.sleep(0.2)
  }
  expect_false(any(is_alive(running)))
})
