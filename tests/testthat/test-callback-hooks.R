skip_on_cran()

test_that("a hook that returns a named list updates the logs", {
  f1 <- Callback("F1", on_epoch_end = function(epoch, logs = NULL) {
    logs$val_f1 <- epoch / 10
    logs
  })
  stopping <- callback_early_stopping("val_f1", mode = "min", patience = 1)
  history <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 5,
    callbacks = list(f1(), stopping),
    verbose = 0
  )
  expect_identical(history$metrics$val_f1, c(0.1, 0.2))

  file <- withr::local_tempfile(fileext = ".csv")
  twice <- list(on_epoch_end = function(epoch, logs) {
    list(twice = 2 * logs$loss, many = 1:2, text = "no number", with = NULL, layers = keras$layers)
  })
  history <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 2,
    callbacks = list(twice, callback_csv_logger(file)),
    verbose = 0
  )
  expect_equal(history$metrics$twice, 2 * history$metrics$loss)
  expect_named(history$metrics, c("loss", "accuracy", "twice"))
  expect_equal(utils::read.csv(file)$twice, history$metrics$twice, tolerance = 1e-5)

  # later callbacks see updates of batch logs
  seen <- NULL
  batches <- list(
    list(on_train_batch_end = function(batch, logs) list(number = batch)),
    list(on_train_batch_end = function(batch, logs) {
      seen <<- c(seen, logs$number)
      invisible()
    })
  )
  fit(classifier(), iris_x, iris_y, batch_size = 50, callbacks = batches, verbose = 0)
  expect_identical(as.integer(seen), 1:3)

  # values other than named lists are ignored
  for (value in list(NULL, 1, c(loss = 0), "a", list(0), iris)) {
    history <- fit(
      regressor(),
      iris_x,
      iris_x[, 1],
      callbacks = list(on_epoch_end = function() value),
      verbose = 0
    )
    expect_named(history$metrics, "loss")
  }
})

test_that("each hook gets the logs of Keras, or an empty named list", {
  given <- list()
  hook <- function(name) {
    force(name)
    function(...) {
      given[[name]] <<- list(...)
      invisible()
    }
  }
  hooks <- stats::setNames(nm = names(callback_hooks))
  hooks <- lapply(hooks[!hooks %in% c("on_batch_begin", "on_batch_end")], hook)
  model <- classifier()
  fit(model, iris_x, iris_y, validation_split = 0.2, callbacks = hooks, verbose = 0)
  predict(model, iris_x, callbacks = hooks, verbose = 0)
  expect_setequal(names(given), names(hooks))
  for (name in names(given)) {
    expect_length(given[[name]], length(callback_hooks[[name]]))
    logs <- given[[name]][[length(given[[name]])]]
    expect_type(logs, "list")
    if (grepl("_begin$|predict_end$", name)) expect_identical(unname(logs), list(), label = name)
  }
  takes_logs <- Callback("Takes", on_predict_end = function(logs) stopifnot(is.list(logs)))
  expect_identical(dim(predict(model, iris_x, callbacks = takes_logs(), verbose = 0)), c(150L, 3L))
})

test_that("a function named after a hook can stand beside other callbacks", {
  seen <- character()
  note <- function(word) seen <<- c(seen, word)
  callbacks <- list(
    on_epoch_end = function() note("first"),
    stop = callback_early_stopping("loss"),
    Callback("Own", on_epoch_end = function() note("second"))(),
    list(on_epoch_end = function() note("third"), on_train_end = function() note("end"))
  )
  fit(classifier(), iris_x, iris_y, callbacks = callbacks, verbose = 0)
  expect_identical(seen, c("first", "second", "third", "end"))
})

test_that("functions named after hooks are a callback with epochs and batches counted from 1", {
  seen <- list()
  note <- function(number, logs) seen[[length(seen) + 1]] <<- list(number, names(logs))
  stopping <- keras$callbacks$EarlyStopping(monitor = "loss")
  fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 2,
    batch_size = 75,
    verbose = 0,
    callbacks = list(stopping, list(on_epoch_end = note, on_train_batch_begin = note))
  )
  expect_identical(vapply(seen, `[[`, 1L, 1), c(1L, 2L, 1L, 1L, 2L, 2L))
  expect_identical(seen[[3]][[2]], c("loss", "accuracy"))
  expect_error(
    fit(
      classifier(),
      iris_x,
      iris_y,
      callbacks = list(on_epoch_end = function(epoch, logs) stop("no disk")),
      verbose = 0
    ),
    "in `on_epoch_end\\(\\)` of `callbacks`, epoch 1.*no disk",
    class = "kerasfit_error_user"
  )
})
