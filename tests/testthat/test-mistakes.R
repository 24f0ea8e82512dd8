skip_on_cran()

#' The objects that the calls in mistakes.dcf use
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
  normal <- keras$layers$BatchNormalization()(at_once) # uses the whole batch
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
    fresh_categorical = classifier(loss = "categorical_crossentropy"), # no levels yet
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

#' Everything that training changes, as R values
state <- function(model) {
  variables <- c(model$weights, if (model$compiled) model$optimizer$variables)
  lapply(variables, function(variable) as.array(keras$ops$convert_to_numpy(variable$value)))
}

test_that("each mistake is one error that names the argument and changes nothing", {
  withr::local_options(keras.verbose = 0L)
  world <- world()
  # with variables in the optimizer, a step would change them
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
  # the session still works
  expect_s3_class(fit(world$model, world$x, world$y), "keras_training_history")
})
