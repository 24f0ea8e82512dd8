skip_on_cran()

#' What the calls in mistakes.dcf are made of
world <- function() {
  holes <- iris_x
  holes[c(3, 9), 2] <- NA
  codes <- as.integer(iris_y) - 1L
  tf <- reticulate::import("tensorflow")
  a <- keras$Input(list(4L), name = "a")
  b <- keras$Input(list(2L), name = "b")
  both <- keras$layers$concatenate(list(a, b))
  outputs <- list(
    u = keras$layers$Dense(3L, activation = "softmax", name = "u")(both),
    v = keras$layers$Dense(1L, name = "v")(both)
  )
  words <- keras$Sequential(list(
    keras$Input(list(3L), dtype = "int32"),
    keras$layers$Embedding(10L, 2L),
    keras$layers$Flatten(),
    keras$layers$Dense(1L)
  ))
  at_once <- keras$Input(batch_shape = list(40L, 4L))
  normal <- keras$layers$BatchNormalization()(at_once) # which looks at the whole batch
  fixed <- keras$Model(
    at_once,
    keras$layers$Dense(1L)(keras$layers$Lambda(function(x) x - keras$ops$mean(x, axis = 0L))(
      normal
    ))
  )
  images <- keras$Sequential(list(
    keras$Input(list(8L, 8L, 1L)),
    keras$layers$Flatten(),
    keras$layers$Dense(1L)
  ))
  named <- keras$Model(list(a = a, b = b), keras$layers$Dense(3L, activation = "softmax")(both))
  env <- list(
    images = compile(images, "sgd", "mse"),
    named = compile(named, "sgd", "sparse_categorical_crossentropy"),
    x = iris_x,
    y = iris_y,
    codes = codes,
    onehot = diag(3)[codes + 1L, ],
    holes = holes,
    endless = function() list(iris_x, codes),
    dataset = function() {
      tf$data$Dataset$from_tensor_slices(tuple(iris_x, array(codes)))$batch(30L)$`repeat`()
    },
    model = classifier(),
    categorical = classifier(loss = "categorical_crossentropy"),
    fresh = classifier(),
    fresh_categorical = classifier(loss = "categorical_crossentropy"), # which know no levels yet
    two = compile(
      keras$Model(list(a = a, b = b), outputs),
      "adam",
      list(u = "sparse_categorical_crossentropy", v = "mse")
    ),
    words = compile(words, "adam", "mse"),
    fixed = compile(fixed, "adam", "mse"),
    bare = keras$Sequential(list(keras$Input(list(4L)), keras$layers$Dense(3L)))
  )
  list2env(env, parent = globalenv())
}

#' All that training changes, as R values
state <- function(model) {
  variables <- c(model$weights, if (model$compiled) model$optimizer$variables)
  lapply(variables, function(variable) as.array(keras$ops$convert_to_numpy(variable$value)))
}

test_that("each mistake is one error that names the argument, and nothing has changed", {
  withr::local_options(keras.verbose = 0L)
  world <- world()
  # an optimizer that has its variables, so that a step would be seen in them
  fit(world$model, world$x, world$y)
  fit(world$categorical, world$x, world$y)
  set.seed(1)
  mistakes <- as.data.frame(read.dcf(test_path("mistakes.dcf")))
  expect_gt(nrow(mistakes), 80)
  for (case in split(mistakes, seq_len(nrow(mistakes)))) {
    call <- str2lang(case$call)
    model <- eval(call[[2]], world)
    before <- state(model)
    seed <- .Random.seed
    error <- tryCatch(eval(call, world), error = identity)
    kind <- if (is.na(case$kind)) "argument" else case$kind
    expect_s3_class(
      error,
      c(paste0("kerasfit_error_", kind), "kerasfit_error", "rlang_error", "error", "condition"),
      exact = TRUE
    )
    if (!inherits(error, "error")) {
      next
    }
    message <- conditionMessage(error)
    expect_true(
      grepl(case$message, message, fixed = TRUE),
      label = sprintf("%s: %s: has `%s`", case$call, message, case$message)
    )
    expect_identical(error$argument, case$argument, label = case$call)
    expect_identical(error$call, call[1], label = case$call)
    expect_no_match(message, "Traceback|py_last_error|File \"|\033", label = case$call)
    expect_identical(state(model), before, label = paste("the model after", case$call))
    expect_identical(.Random.seed, seed, label = paste("the seed after", case$call))
  }
  # and the session goes on
  expect_s3_class(fit(world$model, world$x, world$y), "keras_training_history")
})

test_that("an error in the user's own function keeps its message and says where, and the history so far is there", {
  count <- 0
  read_file <- function() stop("the file is gone")
  failing <- function() {
    count <<- count + 1
    if (count == 8) {
      read_file()
    }
    list(iris_x, iris_y)
  }
  error <- expect_error(
    fit(classifier(), failing, steps_per_epoch = 5, epochs = 3, verbose = 0),
    "In the generator `x`, epoch 2, batch 3.*the file is gone",
    class = "kerasfit_error_user"
  )
  expect_identical(error$call[[1]], quote(fit))
  expect_identical(error$parent$message, "the file is gone")
  expect_identical(error$parent$call, quote(read_file()))
  expect_true(any(vapply(error$parent$trace$call, identical, NA, quote(next_batch()))))
  expect_identical(c(error$epoch, error$batch), 2:3)
  expect_identical(unique(as.data.frame(error$history)$epoch), 1L)

  callback <- keras$callbacks$LambdaCallback(on_epoch_end = function(epoch, logs) {
    if (epoch == 2) stop("no disk")
  })
  error <- expect_error(
    fit(classifier(), iris_x, iris_y, epochs = 5, callbacks = callback, verbose = 0),
    "In `on_epoch_end\\(\\)` of the callback LambdaCallback, epoch 3.*no disk",
    class = "kerasfit_error_user"
  )
  expect_length(error$history$metrics$loss, 2)
  loss <- function(y_true, y_pred) stop("no idea")
  expect_error(
    fit(classifier(loss = loss, metrics = NULL), iris_x, iris_y, verbose = 0),
    "In the loss `loss`, epoch 1, batch 1.*no idea",
    class = "kerasfit_error_user"
  )
})

test_that("what Python held in another session is an error that names the argument", {
  revive <- function(object) unserialize(serialize(object, NULL))
  model <- classifier()
  calls <- list(
    object = quote(compile(revive(model), "sgd", "mse")),
    object = quote(summary(revive(model))),
    object = quote(fit(revive(model), iris_x, iris_y)),
    object = quote(evaluate(revive(model), iris_x, iris_y)),
    object = quote(predict(revive(model), iris_x)),
    x = quote(fit(model, revive(keras$ops$ones(list(150L, 4L))), iris_y)),
    x = quote(predict(model, list(revive(keras$ops$ones(list(150L, 4L)))))),
    callbacks = quote(fit(model, iris_x, iris_y, callbacks = revive(callback_early_stopping()))),
    callbacks = quote(fit(
      model,
      iris_x,
      iris_y,
      callbacks = list(revive(callback_early_stopping()))
    )),
    callbacks = quote(fit(model, iris_x, iris_y, callbacks = revive(Callback("Own")()))),
    optimizer = quote(compile(model, revive(keras$optimizers$Adam()), "mse")),
    loss = quote(compile(model, "sgd", revive(keras$losses$MeanSquaredError()))),
    loss = quote(compile(model, "sgd", list(revive(keras$losses$MeanSquaredError())))),
    metrics = quote(compile(
      model,
      "sgd",
      "mse",
      metrics = revive(keras$metrics$MeanAbsoluteError())
    )),
    metrics = quote(compile(
      model,
      "sgd",
      "mse",
      metrics = list("mae", revive(keras$metrics$MeanAbsoluteError()))
    )),
    weighted_metrics = quote(compile(
      model,
      "sgd",
      "mse",
      weighted_metrics = list(revive(keras$metrics$MeanAbsoluteError()))
    ))
  )
  for (number in seq_along(calls)) {
    error <- expect_error(
      eval(calls[[number]]),
      "belongs to another R session",
      class = "kerasfit_error_argument"
    )
    expect_identical(error$argument, names(calls)[[number]])
    expect_identical(error$call, calls[[number]][1])
  }
})

test_that("a double where Keras wants an integer is an error that writes it with an L", {
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

test_that("a metric of R that puts integers and floats together says how to cast, where the backend does not do it", {
  skip_if_not(keras$backend$backend() == "tensorflow")
  model <- compile(
    regressor(),
    "sgd",
    "mse",
    metrics = list(error = function(y_true, y_pred) keras$ops$mean(y_true - y_pred))
  )
  expect_error(
    fit(model, iris_x, 1:150, verbose = 0),
    "keras\\$ops\\$cast\\(y_true, y_pred\\$dtype\\)",
    class = "kerasfit_error_data"
  )
})

test_that("a mistake in a batch of a generator says which batch", {
  batch <- 0
  late <- function() {
    batch <<- batch + 1
    list(if (batch == 3) replace(iris_x, 7, NA) else iris_x, iris_y)
  }
  expect_error(
    fit(classifier(), late, steps_per_epoch = 5, verbose = 0),
    "`x\\(\\)\\[\\[1\\]\\]` has 1 missing value.*In the generator `x`, epoch 1, batch 3",
    class = "kerasfit_error_data"
  )
  validate <- function() list(iris_x, as.character(iris_y))
  expect_error(
    fit(
      classifier(),
      iris_x,
      iris_y,
      validation_data = validate,
      validation_steps = 1,
      verbose = 0
    ),
    "`validation_data\\(\\)\\[\\[2\\]\\]` is text",
    class = "kerasfit_error_data"
  )
})

test_that("what Keras alone objects to is one R error with the traceback attached, in R's words", {
  layer <- keras$layers$Reshape(list(3L))
  model <- compile(keras$Sequential(list(layer, keras$layers$Dense(1L))), "sgd", "mse")
  error <- expect_error(
    fit(model, iris_x, iris_x[, 1], verbose = 0),
    class = "kerasfit_error_python"
  )
  expect_no_match(conditionMessage(error), "Traceback|File \"|py_last_error|\033|None")
  expect_match(error$python_traceback, "Traceback")
})
