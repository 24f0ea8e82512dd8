# callback_backup_and_restore(): the state of R's session and of callbacks in R

#' A value as it comes back from the core's file
stored_and_read <- function(value) {
  kerasfit:::state_from_core(kerasfit:::state_to_core(value, "x"))
}

test_that("plain R values come back from a stored state as they were", {
  values <- list(
    NULL,
    TRUE,
    NA,
    c(a = 1L, b = NA),
    integer(),
    double(),
    character(),
    list(),
    1.5,
    c(NA, NaN, Inf, -0, 1e-310, pi),
    1i,
    c(1 + 2i, NA),
    as.raw(0:255),
    raw(),
    c("a", NA, "\u00e4", ""),
    "",
    matrix(1:6, 2, dimnames = list(NULL, c("x", "y", "z"))),
    array(0, c(2, 0, 3)),
    factor(c("b", NA, "a"), levels = c("b", "a")),
    iris[c(1, 51), ],
    data.frame(),
    Sys.Date(),
    as.POSIXct("2026-01-01", "UTC"),
    as.difftime(2, units = "mins"),
    list(a = 1, list(b = "c", NULL), `NA` = list()),
    table(c(1, 1, 2)),
    structure(list(1), class = c("own", "list"), extra = list(more = 1L)),
    structure(1:2, class = "integer64")
  )
  for (value in values) {
    expect_identical(stored_and_read(value), value)
  }
  expect_identical(
    is.na(stored_and_read(c(NA_real_, NaN))) & !is.nan(stored_and_read(c(NA_real_, NaN))),
    c(TRUE, FALSE)
  )
  latin <- iconv("\u00e4", "UTF-8", "latin1")
  expect_identical(stored_and_read(latin), latin)
})

test_that("what could run is refused when it is stored, with the name of the element", {
  refused <- function(value, where, what) {
    told <- paste0("The state of x cannot be stored: ", where, " is ", what)
    expect_error(stored_and_read(value), told, class = "kerasfit_error_argument", fixed = TRUE)
  }
  refused(list(a = 1, f = mean), "its element f", "a function")
  refused(list(1, list(new.env())), "its element [[2]][[1]]", "an environment")
  refused(quote(a + b), "it", "of type language")
  refused(list(layer = keras$layers$Dense(1L)), "its element layer", "a Python object")
  refused(structure(1, note = sum), "its element @note", "a function")
  refused(y ~ x, "it", "of type language")
  refused(expression(a), "it", "of type expression")
  refused(methods::getClass("numeric"), "it", "of type S4")
})

test_that("R's random numbers are stored as integers, and set only where they are a state", {
  withr::local_preserve_seed()
  for (kind in c("Mersenne-Twister", "Wichmann-Hill", "L'Ecuyer-CMRG", "Knuth-TAOCP-2002")) {
    set.seed(1, kind = kind)
    state <- kerasfit:::r_random_state()
    expected <- runif(3)
    expect_true(kerasfit:::set_r_random_state(state))
    expect_identical(runif(3), expected)
  }
  set.seed(1, kind = "Mersenne-Twister")
  before <- .Random.seed
  for (state in list(
    c(10403L, 1L),
    integer(),
    "a",
    c(before, 1L),
    as.double(before),
    replace(before, 1, 10499L),
    replace(before, 1, NA),
    list(1L),
    quote(stop())
  )) {
    expect_false(kerasfit:::set_r_random_state(state))
    expect_identical(.Random.seed, before)
  }
})

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

test_that("a run with an R callback and an R generator goes on after an error as if it had not been", {
  folder <- withr::local_tempdir()
  expected <- run_with_backup(NULL)
  expect_error(run_with_backup(folder, fails_at = 3), class = "kerasfit_error_user")
  expect_true(file.exists(file.path(folder, "state.npz")))
  expect_equal(run_with_backup(folder), expected)
  expect_false(file.exists(file.path(folder, "state.npz")))
})

test_that("an interrupt in an R callback or generator stores what was trained", {
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

test_that("a state whose R parts were forged is an error, and nothing in it runs", {
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
      "no valid state of random numbers",
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
    "The state of the callback Keeps cannot be stored: its element model is a Python object",
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
    "has a method get_state\\(\\), and no set_state\\(\\)",
    class = "kerasfit_error_argument"
  )
})

test_that("fewer epochs than the state has, and another learning rate, are errors that leave the folder alone", {
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
    "`epochs` is 2, and .* stored after epoch 3",
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

test_that("no function of the package reads files in which something could run", {
  functions <- Filter(is.function, as.list(asNamespace("kerasfit"), all.names = TRUE))
  called <- unique(unlist(lapply(functions, function(f) all.names(body(f)))))
  expect_identical(
    intersect(called, c("unserialize", "readRDS", "load", "source", "dget", "py_load_object")),
    character()
  )
})
