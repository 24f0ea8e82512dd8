# Tests that need the package keras3, which CI does not install. Run them after each change of a
# part that keras3 has as well.

skip_if_not_installed("keras3")

#' The arguments of a function that can be given by position
positional <- function(f) {
  names <- as.character(names(formals(f)))
  if ("..." %in% names) names[seq_len(match("...", names) - 1)] else names
}

expect_superset_of_keras3 <- function(name, ours, theirs, other_defaults = character()) {
  known <- setdiff(as.character(names(formals(theirs))), "...")
  expect_identical(setdiff(known, names(formals(ours))), character(), info = name)
  expect_identical(
    head(positional(ours), length(positional(theirs))),
    positional(theirs),
    info = name
  )
  for (argument in setdiff(known, other_defaults)) {
    defaults <- lapply(list(theirs, ours), function(f) formals(f)[argument])
    if (is.symbol(defaults[[1]][[1]])) {
      next
    }
    expect_equal(defaults[[2]], defaults[[1]], info = paste(name, argument))
  }
}

#' Attach packages in a new session; returns its standard error and the value of a function there
attached_in_order <- function(packages, f = function() NULL, env = character()) {
  in_new_session(
    function(packages, f) {
      said <- character()
      withCallingHandlers(
        for (package in packages) {
          library(package, character.only = TRUE)
        },
        packageStartupMessage = function(m) {
          said <<- c(said, conditionMessage(m))
          invokeRestart("muffleMessage")
        }
      )
      list(said = said, value = f())
    },
    env,
    args = list(packages, f)
  )
}

orders <- list(c("keras3", "kerasfit"), c("kerasfit", "keras3"))

test_that("functions that keras3 also exports have its arguments, in order, with its defaults", {
  both <- intersect(getNamespaceExports("keras3"), getNamespaceExports("kerasfit"))
  expect_true(all(
    c("Callback", "callback_csv_logger", "set_random_seed", "use_backend", "tuple") %in% both
  ))
  for (name in both) {
    ours <- getExportedValue("kerasfit", name)
    theirs <- getExportedValue("keras3", name)
    if (!is.function(theirs) || identical(ours, theirs)) {
      next
    }
    expect_superset_of_keras3(name, ours, theirs)
  }
})

test_that("methods that keras3 also has have its arguments, in its order, with its defaults", {
  keras3 <- asNamespace("keras3")
  kerasfit <- asNamespace("kerasfit")
  for (generic in c("fit", "compile", "evaluate", "predict")) {
    theirs <- get(paste0(generic, ".keras.src.models.model.Model"), keras3)
    expect_superset_of_keras3(
      generic,
      get(paste0(generic, ".keras.src.trainers.trainer.Trainer"), kerasfit),
      theirs
    )
  }
  theirs <- get("format.keras.src.models.model.Model", keras3)
  names(formals(theirs))[[1]] <- "object"
  expect_superset_of_keras3(
    "summary",
    get("summary.keras.src.trainers.trainer.Trainer", kerasfit),
    theirs
  )
  theirs <- get("plot.keras_training_history", keras3)
  # ours is smoothed only on request, and has one more method
  expect_superset_of_keras3(
    "plot",
    get("plot.kerasfit_history", kerasfit),
    theirs,
    c("smooth", "method")
  )
})

test_that("attaching prints masked functions and how epochs are counted, in both orders", {
  for (order in orders) {
    said <- attached_in_order(order)$said
    expect_no_match(said, "Registered S3")
    expect_length(grep("counts epochs from 0", said), 1)
    expect_length(said[!grepl("masked from|Attaching package|counts epochs from 0", said)], 0)
  }
})

test_that("kerasfit trains models of keras3 while it is attached, in both orders", {
  train <- function() {
    set_random_seed(1)
    model <- keras_model_sequential(input_shape = 2) |> layer_dense(1)
    model |>
      compile(optimizer_sgd(0.1), loss_mean_squared_error, metrics = metric_mean_absolute_error)
    history <- model |> fit(matrix(1:8 / 8, 4), 1:4 / 4, epochs = 3, verbose = 0)
    list(class = class(history), names = names(history$metrics), loss = history$metrics$loss)
  }
  answers <- lapply(orders, function(order) attached_in_order(order, train)$value)
  expect_identical(answers[[1]]$class, c("kerasfit_history", "keras_training_history"))
  expect_identical(answers[[1]], answers[[2]])
  expect_identical(answers[[1]]$names, c("loss", "mean_absolute_error"))
  alone <- attached_in_order(
    "keras3",
    eval(bquote(function() {
      loadNamespace("kerasfit")
      loaded <- (.(train))()
      library(kerasfit, warn.conflicts = FALSE)
      detach("package:kerasfit")
      list(loaded, detached = (.(train))())
    }))
  )$value
  expect_identical(alone[[1]]$class, "keras_training_history")
  expect_identical(alone[[2]]$class, "keras_training_history")
  expect_equal(alone[[1]]$loss, answers[[1]]$loss, tolerance = 1e-5)
})

test_that("a learning rate schedule gets the epochs of keras3, in both orders", {
  seen <- function() {
    epochs <- numeric()
    model <- keras_model_sequential(input_shape = 2) |> layer_dense(1)
    model |> compile("sgd", "mse")
    schedule <- function(epoch, lr) {
      epochs <<- c(epochs, epoch)
      lr
    }
    model |>
      fit(
        matrix(1:8 / 8, 4),
        1:4,
        epochs = 2,
        verbose = 0,
        callbacks = callback_learning_rate_scheduler(schedule)
      )
    as.numeric(epochs)
  }
  for (order in c(orders, "keras3")) {
    expect_identical(attached_in_order(order, seen)$value, c(0, 1))
  }
})

test_that("functions as losses and metrics have keras3's names, and models with them load", {
  train <- function() {
    error <- function(y_true, y_pred) op_mean((y_true - y_pred)^2)
    model <- keras_model_sequential(input_shape = 2) |> layer_dense(1)
    compiled <- function(...) {
      model |> compile("sgd", ...)
      names((model |> fit(matrix(1:8 / 8, 4), matrix(1:4), verbose = 0))$metrics)
    }
    names <- list(
      compiled(error, metrics = error),
      compiled("mse", metrics = list("mae", error)),
      compiled(list(error), metrics = list(custom_metric("mine", error))),
      compiled(loss_mean_squared_error, metrics = c(metric_binary_accuracy, metric_auc))
    )
    model |> compile("sgd", error, metrics = error)
    file <- tempfile(fileext = ".keras")
    save_model(model, file)
    loaded <- load_model(file, custom_objects = list(custom_loss = error, custom_metric = error))
    list(
      names = names,
      same = all.equal(
        loaded |> evaluate(matrix(1:8 / 8, 4), matrix(1:4), verbose = 0),
        model |> evaluate(matrix(1:8 / 8, 4), matrix(1:4), verbose = 0)
      )
    )
  }
  ours <- attached_in_order(orders[[1]], train)$value
  expect_identical(
    ours$names,
    list(
      c("loss", "custom_metric"),
      c("loss", "mae", "custom_metric_2"),
      c("loss", "mine"),
      c("loss", "binary_accuracy", "auc")
    )
  )
  expect_true(ours$same)
})

test_that("only keras3 declares the Python packages of the backend where it is loaded", {
  wanted <- function() reticulate::py_require()$packages
  for (order in orders) {
    packages <- attached_in_order(
      order,
      wanted,
      c(RETICULATE_PYTHON = NA, KERAS_BACKEND = NA)
    )$value
    expect_length(grep("^tensorflow", packages), 1)
  }
  for (order in orders) {
    packages <- attached_in_order(
      order,
      function() {
        use_backend("jax", gpu = FALSE)
        reticulate::py_require()$packages
      },
      c(RETICULATE_PYTHON = NA, KERAS_BACKEND = NA)
    )$value
    expect_length(grep("^jax", packages), 1)
  }
})

test_that("summary() is keras3's where it is loaded", {
  text <- attached_in_order(orders[[1]], function() {
    model <- keras_model_sequential(input_shape = 2) |> layer_dense(1)
    freeze_weights(model)
    capture.output(summary(model, compact = FALSE))
  })$value
  expect_match(text, "Trainable", all = FALSE)
})
