# The state of R's session and of R callbacks in a stored state.

skip_on_cran()

counter <- function() {
  Callback(
    "Counter",
    public = list(
      drawn = list(),
      fails_at = Inf,
      get_state = function() list(drawn = self$drawn, when = factor("now")),
      set_state = function(state) {
        stopifnot(is.factor(state$when))
        self$drawn <- state$drawn
      }
    ),
    on_epoch_end = function(epoch, logs) {
      self$drawn[[paste("epoch", epoch)]] <- sample(3)
      if (epoch == self$fails_at) stop("no power")
    }
  )()
}

run_with_backup <- function(
  folder,
  fails_at = Inf,
  callback = counter(),
  interrupted_at = Inf,
  ...
) {
  model <- classifier()
  set.seed(1)
  callback$fails_at <- fails_at
  calls <- 0
  generator <- function() {
    calls <<- calls + 1
    rows <- sample(150, 8)
    if (calls == interrupted_at) {
      rlang::interrupt()
    }
    list(iris_x[rows, ], iris_y[rows])
  }
  backup <- if (!is.null(folder)) callback_backup_and_restore(folder, save_freq = 1)
  history <- fit(
    model,
    generator,
    steps_per_epoch = 3,
    epochs = 4,
    callbacks = c(list(callback), backup),
    verbose = 0,
    ...
  )
  list(history$metrics, lapply(model$get_weights(), unname), callback$drawn, runif(1))
}

test_that("a run with an R callback and an R generator continues exactly after an error", {
  folder <- withr::local_tempdir()
  expected <- run_with_backup(NULL)
  expect_error(run_with_backup(folder, fails_at = 3), class = "kerasfit_error_user")
  expect_true(file.exists(file.path(folder, "state.npz")))
  expect_equal(run_with_backup(folder), expected)
  expect_false(file.exists(file.path(folder, "state.npz")))
})

test_that("an interrupt in an R callback or generator stores the trained state", {
  withr::local_options(kerasfit.interrupt = "return")
  expected <- run_with_backup(NULL)
  again <- Callback(
    "Counter",
    public = list(
      drawn = list(),
      fails_at = Inf,
      get_state = function() list(drawn = self$drawn, when = factor("now")),
      set_state = function(state) self$drawn <- state$drawn
    ),
    on_epoch_end = function(epoch, logs) {
      self$drawn[[paste("epoch", epoch)]] <- sample(3)
      if (epoch == 2) rlang::interrupt()
    }
  )()
  folder <- withr::local_tempdir()
  expect_message(
    run_with_backup(folder, callback = again),
    "interrupted",
    class = "kerasfit_interrupted"
  )
  expect_true(file.exists(file.path(folder, "state.npz")))
  expect_equal(run_with_backup(folder), expected)
  for (at in c(2, 4, 8)) {
    expect_message(
      run_with_backup(folder, interrupted_at = at),
      "interrupted",
      class = "kerasfit_interrupted"
    )
    expect_equal(run_with_backup(folder), expected)
  }
})

test_that("forged R values in a stored state are errors and nothing in them runs", {
  folder <- withr::local_tempdir()
  expect_error(run_with_backup(folder, fails_at = 3), class = "kerasfit_error_user")
  store <- reticulate::import("kerasfit.checkpoint.store", convert = FALSE)
  file <- reticulate::import("pathlib", convert = FALSE)$Path(file.path(folder, "state.npz"))
  state <- store$read(file)
  bytes <- function(value) {
    reticulate::import_builtins(convert = FALSE)$bytes(reticulate::r_to_py(serialize(value, NULL)))
  }
  promise <- new.env()
  delayedAssign("run", writeLines("has run", file.path(folder, "has run")), assign.env = promise)
  for (seed in list(bytes(promise), bytes(1:626), reticulate::np_array(c(10403L, 1L)), 1L)) {
    state$update(reticulate::dict(random = state["random"]$copy()))
    state["random"]$update(reticulate::dict(session = seed))
    store$write(file, state)
    expect_error(
      run_with_backup(folder),
      "no valid state of the random number generators",
      class = "kerasfit_error_argument"
    )
  }
  expect_setequal(list.files(folder, all.files = TRUE, no.. = TRUE), "state.npz")
})

test_that("a callback with a state that cannot be stored is an error that names the element", {
  keeps_model <- Callback(
    "Keeps",
    public = list(
      get_state = function() list(a = 1, model = self$model),
      set_state = function(state) NULL
    )
  )
  expect_error(
    fit(
      classifier(),
      iris_x,
      iris_y,
      callbacks = list(keeps_model(), callback_backup_and_restore(tempfile())),
      verbose = 0
    ),
    "The state of the callback Keeps cannot be saved: its element model is a Python object",
    class = "kerasfit_error_argument"
  )
  half <- Callback("Half", public = list(get_state = function() 1))
  expect_error(
    fit(
      classifier(),
      iris_x,
      iris_y,
      callbacks = list(half(), callback_backup_and_restore(tempfile())),
      verbose = 0
    ),
    "has a method get_state\\(\\), but no set_state\\(\\)",
    class = "kerasfit_error_argument"
  )
})

test_that("fewer epochs or another learning rate are errors that leave the folder unchanged", {
  folder <- withr::local_tempdir()
  file <- file.path(folder, "state.npz")
  train <- function(epochs, rate = 0.01, ...) {
    model <- compile(classifier(), keras$optimizers$SGD(rate), "sparse_categorical_crossentropy")
    backup <- callback_backup_and_restore(folder, delete_checkpoint = FALSE, ...)
    fit(model, iris_x, iris_y, epochs = epochs, callbacks = backup, verbose = 0)
  }
  train(3)
  kept <- tools::md5sum(file)
  expect_error(
    train(2),
    "`epochs` is 2, but .* saved after epoch 3",
    class = "kerasfit_error_argument"
  )
  expect_error(train(4, 0.5), "learning rate is 0.5.*\"model\"", class = "kerasfit_error_argument")
  expect_identical(tools::md5sum(file), kept)
  expect_identical(length(train(4, 0.5, learning_rate = "model")$metrics$loss), 4L)
  expect_error(
    callback_backup_and_restore(folder, learning_rate = "new"),
    "`learning_rate`",
    class = "kerasfit_error_argument"
  )
})

test_that("no function of the package reads files whose contents could run", {
  functions <- Filter(is.function, as.list(asNamespace("kerasfit"), all.names = TRUE))
  called <- unique(unlist(lapply(functions, function(f) all.names(body(f)))))
  expect_identical(
    intersect(called, c("unserialize", "readRDS", "load", "source", "dget", "py_load_object")),
    character()
  )
})

test_that("a run with an R generator and R callbacks continues after a crash", {
  dir <- withr::local_tempdir()
  Counter <- Callback(
    "Counter",
    on_epoch_begin = function(epoch) if (epoch == self$crash) stop("crash"),
    on_epoch_end = function() self$count <- self$count + 1,
    public = list(
      count = 0,
      crash = 0,
      initialize = function(crash) self$crash <- crash,
      get_state = function() list(count = self$count),
      set_state = function(state) self$count <- state$count
    )
  )
  run <- function(crash = 0) {
    model <- classifier()
    counter <- Counter(crash)
    batch <- function() {
      rows <- sample(150, 32)
      list(iris_x[rows, ], iris_y[rows])
    }
    backup <- callback_backup_and_restore(file.path(dir, "state"), save_freq = 3)
    history <- fit(
      model,
      batch,
      steps_per_epoch = 4,
      epochs = 6,
      callbacks = list(counter, backup),
      validation_data = list(iris_x, iris_y),
      verbose = 0
    )
    list(model$get_weights(), history$metrics, counter$count, runif(1))
  }
  whole <- run()
  expect_error(run(3), class = "kerasfit_error_user")
  expect_error(run(5), class = "kerasfit_error_user")
  expect_identical(run(), whole)
  expect_false(dir.exists(file.path(dir, "state")))
  expect_error(run(3), class = "kerasfit_error_user")
  writeLines("nothing", file.path(dir, "state", "state.npz"))
  expect_error(run(), "damaged, or is not a checkpoint", class = "kerasfit_error_argument")
})
