skip_on_cran()

test_that("fit() has the signature of the specification", {
  f <- getS3method("fit", "keras.src.trainers.trainer.Trainer")
  expect_named(
    formals(f),
    c(
      "object",
      "x",
      "y",
      "...",
      "batch_size",
      "epochs",
      "callbacks",
      "validation_split",
      "validation_data",
      "shuffle",
      "class_weight",
      "sample_weight",
      "initial_epoch",
      "steps_per_epoch",
      "validation_steps",
      "validation_batch_size",
      "validation_freq",
      "verbose",
      "view_metrics"
    )
  )
  expect_identical(formals(f)$epochs, 1L)
  expect_identical(formals(f)$initial_epoch, 1L)
  expect_identical(formals(f)$validation_split, 0)
  expect_identical(formals(f)$verbose, quote(getOption("keras.verbose", default = "auto")))
})

test_that("fit() trains the model in place and returns the history invisibly", {
  model <- classifier()
  before <- model$get_weights()
  trained <- withVisible(fit(
    model,
    iris_x,
    iris_y,
    epochs = 20,
    validation_split = 0.2,
    verbose = 0
  ))
  expect_false(trained$visible)
  expect_s3_class(trained$value, "keras_training_history")
  expect_false(identical(before, model$get_weights()))
  loss <- trained$value$metrics$loss
  expect_lt(loss[20], loss[1])
})

test_that("a training run does what Keras's own does", {
  ours <- classifier()
  fit(ours, iris_x, iris_y, epochs = 3, validation_split = 0.2, shuffle = FALSE, verbose = 0)
  theirs <- classifier()
  theirs$fit(
    iris_x,
    array(as.integer(iris_y) - 1L),
    epochs = 3L,
    validation_split = 0.2,
    shuffle = FALSE,
    verbose = 0L
  )
  expect_equal(ours$get_weights(), theirs$get_weights(), tolerance = 1e-5)
})

test_that("a seeded run repeats bit for bit, shuffling included", {
  run <- function() {
    model <- classifier()
    fit(model, iris_x, iris_y, epochs = 2, verbose = 0)
    model$get_weights()
  }
  expect_identical(run(), run())
})

# ---- the table of semantics ------------------------------------------------------------------------------

test_that("epochs count from one and `epochs` is the last one", {
  history <- fit(regressor(), iris_x, iris_x[, 1], initial_epoch = 6L, epochs = 10L, verbose = 0)
  expect_identical(history$params$epoch, 6:10)
  expect_length(history$metrics$loss, 5)
})

test_that("class weights by code can be a list or a vector, and weigh the samples of their class", {
  y <- as.integer(iris_y) - 1L
  by_sample <- weights_after(classifier(), iris_x, y, sample_weight = c(1, 5, 2)[y + 1])
  as_list <- list("0" = 1, "1" = 5, "2" = 2)
  expect_equal(weights_after(classifier(), iris_x, y, class_weight = as_list), by_sample)
  expect_equal(weights_after(classifier(), iris_x, y, class_weight = unlist(as_list)), by_sample)
})

test_that("class weights can name the levels of a factor, and other levels weigh 1", {
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

test_that("what class weights name must be there, in a generator's first batch too", {
  batch <- function() list(iris_x, iris_y)
  expect_error(
    fit(classifier(), batch, steps_per_epoch = 1, class_weight = c(virginia = 5), verbose = 0),
    '"virginia" that does not exist: `y` has the levels setosa',
    class = "kerasfit_error_argument"
  )
})

test_that("a factor stands for its codes counted from 0", {
  expect_equal(
    weights_after(classifier(), iris_x, iris_y),
    weights_after(classifier(), iris_x, as.integer(iris_y) - 1L)
  )
})

test_that("validation data can be a list or a tuple, with or without weights", {
  rows <- 101:150
  x_val <- iris_x[rows, ]
  y_val <- as.integer(iris_y[rows]) - 1L
  losses <- function(validation_data) {
    fit(
      classifier(),
      iris_x[-rows, ],
      iris_y[-rows],
      validation_data = validation_data,
      shuffle = FALSE,
      verbose = 0
    )$metrics$val_loss
  }
  expected <- losses(list(x_val, y_val))
  expect_equal(losses(tuple(x_val, y_val)), expected)
  expect_equal(losses(list(x_val, iris_y[rows])), expected)
  expect_equal(losses(tuple(x_val, iris_y[rows])), expected)
  expect_equal(losses(list(x_val, y_val, rep(1, 50))), expected)
  expect_equal(losses(tuple(x_val, y_val, rep(2, 50))), 2 * expected, tolerance = 1e-5)
})

test_that("validation data override the validation split, which takes the last samples", {
  last <- 121:150
  by_data <- fit(
    classifier(),
    iris_x[-last, ],
    iris_y[-last],
    validation_data = list(iris_x[last, ], iris_y[last]),
    validation_split = 0.5,
    shuffle = FALSE,
    verbose = 0
  )
  by_split <- fit(
    classifier(),
    iris_x,
    iris_y,
    validation_split = 0.2,
    shuffle = FALSE,
    verbose = 0
  )
  expect_equal(by_data$metrics, by_split$metrics)
  expect_identical(by_split$params$samples, 120L)
  expect_identical(by_split$params$validation_samples, 30L)
})

test_that("a named list is named inputs, and a list is the inputs that a model made of a list has", {
  build <- function(inputs_of) {
    set_random_seed(1)
    a <- keras$Input(list(2L), name = "a")
    b <- keras$Input(list(2L), name = "b")
    joined <- keras$layers$Concatenate()(list(a, b))
    compile(keras$Model(inputs_of(a = a, b = b), keras$layers$Dense(1L)(joined)), "sgd", "mse")
  }
  y <- iris_x[, 1]
  named <- weights_after(build(list), list(b = iris_x[, 3:4], a = iris_x[, 1:2]), y)
  by_place <- list(iris_x[, 1:2], iris_x[, 3:4])
  expect_equal(weights_after(build(function(...) unname(list(...))), by_place, y), named)
  expect_error(
    weights_after(build(list), by_place, y),
    "list without names",
    class = "kerasfit_error_data"
  )
})

test_that("several outputs take a list of targets, also a named one, and a list of sample weights", {
  build <- function() {
    set_random_seed(1)
    input <- keras$Input(list(4L))
    u <- keras$layers$Dense(1L, name = "u")(input)
    v <- keras$layers$Dense(3L, activation = "softmax", name = "v")(input)
    compile(
      keras$Model(input, list(u = u, v = v)),
      "sgd",
      list(u = "mse", v = "sparse_categorical_crossentropy")
    )
  }
  y <- list(u = iris_x[, 1], v = iris_y)
  named <- weights_after(build(), iris_x, y)
  expect_equal(weights_after(build(), iris_x, unname(y)), named)
  weighted <- weights_after(
    build(),
    iris_x,
    y,
    sample_weight = list(u = rep(2, 150), v = rep(1, 150))
  )
  expect_false(isTRUE(all.equal(weighted, named)))
  predicted <- predict(build(), iris_x, verbose = 0)
  expect_identical(lapply(predicted, dim), list(u = c(150L, 1L), v = c(150L, 3L)))
})

test_that("vectors, logicals and integers are numbers", {
  build <- function() {
    set_random_seed(1)
    compile(keras$Sequential(list(keras$Input(list(1L)), keras$layers$Dense(1L))), "sgd", "mse")
  }
  y <- iris_x[, 2] > 3
  expect_equal(
    weights_after(build(), iris_x[, 1], y),
    weights_after(build(), matrix(iris_x[, 1]), as.integer(y))
  )
})

test_that("temporal sample weights are a matrix", {
  for_each_step <- function() {
    set_random_seed(1)
    model <- keras$Sequential(list(keras$Input(list(6L, 3L)), keras$layers$Dense(1L)))
    compile(model, "sgd", "mse")
  }
  x <- array(rnorm(10 * 6 * 3), c(10, 6, 3))
  y <- array(rnorm(60), c(10, 6, 1))
  weights <- matrix(runif(60), 10)
  model <- for_each_step()
  model$fit(x, y, sample_weight = weights, verbose = 0L)
  expect_equal(
    weights_after(for_each_step(), x, y, sample_weight = weights),
    unlist(model$get_weights()),
    tolerance = 1e-5
  )
  expect_error(
    fit(model, x, y, sample_weight = matrix(1, 9, 6), verbose = 0),
    "`sample_weight` has 9 samples"
  )
})

test_that("tensors and datasets train as arrays do", {
  tf <- reticulate::import("tensorflow")
  y <- as.integer(iris_y) - 1L
  expected <- weights_after(classifier(), iris_x, y)
  tensor <- tf$convert_to_tensor(iris_x, dtype = "float32")
  expect_equal(weights_after(classifier(), tensor, y), expected)
  dataset <- tf$data$Dataset$from_tensor_slices(tuple(tensor, array(y)))$batch(32L)
  expect_equal(weights_after(classifier(), dataset), expected)
})

# ---- generators ------------------------------------------------------------------------------------------

batches <- function(n = 5, as = list) {
  i <- 0
  function() {
    i <<- i + 1
    if (i > n) {
      i <<- 0
      return(NULL)
    }
    rows <- (i - 1) * 30 + 1:30
    as(iris_x[rows, ], as.integer(iris_y[rows]) - 1L)
  }
}

test_that("an R function is a generator: NULL ends an epoch, and the next epoch calls it again", {
  expected <- weights_after(classifier(), iris_x, iris_y, batch_size = 30, epochs = 2)
  expect_equal(weights_after(classifier(), batches(), epochs = 2), expected)
  expect_equal(weights_after(classifier(), batches(as = tuple), epochs = 2), expected)
  history <- fit(classifier(), batches(), epochs = 2, verbose = 0)
  expect_identical(history$params$steps, 5L)
  expect_identical(history$params$samples, NA_integer_)
})

test_that("a Python generator trains and validates", {
  generator <- function() reticulate::py_iterator(batches())
  expected <- weights_after(classifier(), iris_x, iris_y, batch_size = 30)
  expect_equal(weights_after(classifier(), generator()), expected)
  history <- fit(classifier(), iris_x, iris_y, validation_data = batches(), epochs = 2, verbose = 0)
  expect_false(anyNA(history$metrics$val_loss))
})

test_that("a generator may yield weights and a factor in a list", {
  weighted <- function() {
    list(iris_x, iris_y, as.numeric(iris_y == "setosa"))
  }
  expect_equal(
    weights_after(classifier(), weighted, steps_per_epoch = 1),
    weights_after(
      classifier(),
      iris_x,
      iris_y,
      sample_weight = as.numeric(iris_y == "setosa"),
      batch_size = 150
    )
  )
})

test_that("a named list at the top of a batch is all inputs, whatever its names", {
  inputs <- list(x = keras$Input(list(4L), name = "x"), y = keras$Input(list(1L), name = "y"))
  distance <- keras$layers$Dense(1L)(keras$layers$Concatenate()(list(inputs$x, inputs$y)))
  model <- keras$Model(inputs, distance)
  batch <- function() list(x = iris_x, y = iris_x[, 1, drop = FALSE])
  expect_identical(dim(predict(model, batch, steps = 1, verbose = 0)), c(150L, 1L))

  # with targets, they go beside the named list
  compile(model, "sgd", "mse")
  with_targets <- function() tuple(batch(), iris_x[, 2])
  expect_length(fit(model, with_targets, steps_per_epoch = 2, verbose = 0)$metrics$loss, 1)
})

test_that("functions that never return NULL are told from those that may", {
  never <- list(
    function() list(1, 2),
    function() {
      i <- sample(10, 2)
      list(i)
    },
    function() if (runif(1) > 0.5) list(1) else list(2)
  )
  may <- list(
    function() NULL,
    function() if (runif(1) > 0.5) list(1),
    function() {
      if (i > 3) {
        return(NULL)
      }
      list(1)
    },
    function() {
      if (i > 3) {
        return()
      }
      list(1)
    },
    function() {
      for (i in 1:3) {
        list(1)
      }
    },
    function() {}
  )
  for (f in never) {
    expect_false(can_return_null(f))
  }
  for (f in may) {
    expect_true(can_return_null(f))
  }
})

# ---- options ---------------------------------------------------------------------------------------------

test_that("Keras's callbacks work, alone or in a list, and early stopping leaves no rows behind", {
  stop_early <- keras$callbacks$EarlyStopping(monitor = "loss", min_delta = 100, patience = 2L)
  history <- fit(
    classifier(),
    iris_x,
    iris_y,
    epochs = 50,
    callbacks = list(stop_early),
    verbose = 0
  )
  expect_identical(history$params$epoch, 1:3)
  expect_length(history$metrics$accuracy, 3)
  expect_identical(history$params$epochs, 50L)
  alone <- fit(classifier(), iris_x, iris_y, epochs = 50, callbacks = stop_early, verbose = 0)
  expect_identical(alone$params$epoch, 1:3)
})

test_that("an R function can be a loss and a metric", {
  absolute <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred), axis = -1L)
  with_r <- compile(regressor(), "sgd", absolute, metrics = list(absolute))
  with_keras <- compile(regressor(), "sgd", "mae", metrics = "mae")
  y <- matrix(iris_x[, 1])
  ours <- fit(with_r, iris_x, y, shuffle = FALSE, verbose = 0)
  theirs <- fit(with_keras, iris_x, y, shuffle = FALSE, verbose = 0)
  expect_equal(ours$metrics$loss, theirs$metrics$loss)
  expect_equal(ours$metrics[[2]], theirs$metrics$mae)
})

test_that("metrics that are R functions have the names that they have in the list", {
  absolute <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred), axis = -1L)
  y <- matrix(iris_x[, 1])
  model <- compile(
    regressor(),
    "sgd",
    "mse",
    metrics = list(first = absolute, second = absolute, "mae")
  )
  expect_setequal(
    names(fit(model, iris_x, y, verbose = 0)$metrics),
    c("loss", "first", "second", "mae")
  )
  inputs <- keras$Input(tuple(4L))
  model <- keras$Model(
    inputs,
    list(keras$layers$Dense(1L, name = "a")(inputs), keras$layers$Dense(1L, name = "b")(inputs))
  )
  compile(
    model,
    "sgd",
    list(a = "mse", b = "mse"),
    metrics = list(a = list(own = absolute), b = "mae")
  )
  expect_true(all(
    c("a_own", "b_mae") %in% names(fit(model, iris_x, list(y, y), verbose = 0)$metrics)
  ))
})

test_that("a metric in Python that calls a function of R's gets targets as columns too, as keras3's custom_metric() does", {
  error <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred), axis = -1L)
  code <- "def wrap(r_function):\n  def wrapped(y_true, y_pred):\n    return r_function(y_true, y_pred)\n  return wrapped"
  wrapped <- reticulate::py_run_string(code, local = TRUE, convert = TRUE)$wrap(error)
  model <- compile(regressor(), "sgd", "mse", metrics = list(error, wrapped, "mae"))
  results <- evaluate(model, iris_x, iris_x[, 1], verbose = 0)
  expect_equal(results[[2]], results$mae, tolerance = 1e-5)
  expect_equal(results$wrapped, results$mae, tolerance = 1e-5)
})

test_that("a loss or metric that is an R function has the name of its variable, and a saved model loads with it", {
  my_error <- function(y_true, y_pred) keras$ops$mean(keras$ops$square(y_true - y_pred), axis = -1L)
  of_compiled <- function(model) setdiff(names(evaluate(model, iris_x, y, verbose = 0)), "loss")
  y <- matrix(iris_x[, 1])
  model <- regressor()
  expect_identical(of_compiled(compile(model, "sgd", "mse", metrics = my_error)), "my_error")
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = list("mae", my_error))),
    c("mae", "my_error")
  )
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = function(y_true, y_pred) y_pred)),
    "custom_metric"
  )
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = list(function(y_true, y_pred) y_pred))),
    "custom_metric_1"
  )
  several <- list(my_error, structure(my_error, py_function_name = "second"))
  expect_identical(
    of_compiled(compile(model, "sgd", "mse", metrics = several)),
    c("custom_metric_1", "second")
  )

  file <- withr::local_tempfile(fileext = ".keras")
  for (metrics in list(list(my_error = my_error), list("Error, mine" = my_error))) {
    compile(model, "sgd", my_error, metrics = metrics)
    model$save(file)
    loaded <- keras$models$load_model(
      file,
      custom_objects = list(my_error = my_error, Error_mine = my_error)
    )
    values <- lapply(list(loaded, model), function(model) {
      unlist(evaluate(model, iris_x, y, verbose = 0))
    })
    expect_equal(unname(values[[1]]), unname(values[[2]]), tolerance = 1e-6)
  }
})

test_that("names are the same ones in a session that knows ASCII only", {
  skip_unless_all()
  losses <- in_new_session(env = c(LC_ALL = "C"), function() {
    library(kerasfit)
    inputs <- lapply(c("l\u00e4nge", "b"), function(name) keras$Input(list(1L), name = name))
    model <- keras$Model(inputs, keras$layers$Dense(2L)(keras$layers$concatenate(inputs)))
    compile(model, "sgd", keras$losses$SparseCategoricalCrossentropy(from_logits = TRUE))
    x <- stats::setNames(list(1:4, 4:1), c("l\u00e4nge", "b"))
    y <- factor(c("\u00e4", "b", "b", "\u00e4"))
    fit(model, x, y, class_weight = stats::setNames(2, levels(y)[[1]]), verbose = 0)$metrics$loss
  })
  expect_length(losses, 1)
})

test_that("a metric in R has its name in the list, and targets of the outputs' rank", {
  model <- regressor()
  of_all <- function(y_true, y_pred) keras$ops$mean(keras$ops$abs(y_true - y_pred))
  compile(
    model,
    "sgd",
    "mse",
    metrics = list("MAE, mine" = of_all, plain = of_all, "mae"),
    weighted_metrics = list(R2 = of_all)
  )
  y <- iris_x[, 1]
  values <- evaluate(model, iris_x, y, batch_size = 150, verbose = 0)
  expect_named(values, c("loss", "MAE, mine", "plain", "mae", "R2"), ignore.order = TRUE)
  for (name in c("MAE, mine", "plain", "R2")) {
    expect_equal(values[[name]], values$mae, tolerance = 1e-5)
  }
  history <- fit(
    model,
    iris_x,
    y,
    verbose = 0,
    callbacks = callback_early_stopping("MAE, mine", mode = "min")
  )
  expect_true("MAE, mine" %in% names(history$metrics))
})

test_that("evaluate() returns a named list and predict() an array with samples in rows", {
  model <- classifier()
  results <- evaluate(model, iris_x, iris_y, verbose = 0)
  expect_named(results, c("loss", "accuracy"))
  expect_type(results$accuracy, "double")
  probabilities <- predict(model, iris_x, verbose = 0)
  expect_identical(dim(probabilities), c(150L, 3L))
  expect_equal(rowSums(probabilities), rep(1, 150), tolerance = 1e-6)
  expect_equal(
    results$accuracy,
    mean(max.col(probabilities) == as.integer(iris_y)),
    tolerance = 1e-6
  )
  expect_equal(evaluate(model, x = iris_x, y = iris_y, verbose = 0), results)
  by_generics <- in_new_session(function() {
    library(kerasfit)
    model <- keras$Sequential(list(keras$layers$Dense(1L)))
    compile(model, "sgd", "mse")
    detach("package:kerasfit")
    generics::evaluate(model, matrix(1:10 / 10), 1:10, verbose = 0)
  })
  expect_named(by_generics, "loss")
  expect_error(evaluate("a model"), "no applicable method")
})

test_that("predictions in half precision are numbers", {
  keras$config$set_dtype_policy("mixed_bfloat16")
  on.exit(keras$config$set_dtype_policy("float32"))
  expect_equal(rowSums(predict(classifier(), iris_x, verbose = 0)), rep(1, 150), tolerance = 0.02)
})

test_that("summary() prints the model's layers, compactly, and which are trained if not all are", {
  model <- classifier()
  printed <- capture.output(value <- withVisible(summary(model)))
  expect_match(printed, "Total params: 67", all = FALSE)
  expect_no_match(printed, "\u2502 *[YN] *\u2502")
  expect_false(any(printed == ""))
  expect_identical(value, list(value = paste(printed, collapse = "\n"), visible = FALSE))
  layer <- model$layers[[1]]
  layer$trainable <- FALSE
  expect_match(capture.output(summary(model)), "\u2502 *N *\u2502", all = FALSE)
  expect_no_match(capture.output(summary(model, show_trainable = FALSE)), "\u2502 *[YN] *\u2502")
  expect_lte(max(nchar(capture.output(summary(model, line_length = 50)))), 50)
})

test_that("compile() returns the model and takes metrics in a vector", {
  model <- regressor()
  expect_identical(
    withVisible(compile(model, "adam", "mse", metrics = c("mae", "mape")))$visible,
    FALSE
  )
  expect_named(evaluate(model, iris_x, iris_x[, 1], verbose = 0), c("loss", "mae", "mape"))
})

test_that("a model that is compiled again has the metrics of the last compile(), and none without any", {
  metrics_of <- function(model) {
    setdiff(names(fit(model, iris_x, iris_x[, 1], verbose = 0)$metrics), "loss")
  }
  model <- compile(
    regressor(),
    "sgd",
    "mse",
    metrics = list(failing = function(y_true, y_pred) stop("no idea"))
  )
  expect_error(metrics_of(model), "no idea", class = "kerasfit_error_user")
  expect_length(metrics_of(compile(model, "sgd", "mse")), 0)
  expect_identical(metrics_of(compile(model, "sgd", "mse", metrics = "mae")), "mae")
  expect_error(
    compile(model, list(class_name = "SGD", config = list(abacus = 1))),
    class = "kerasfit_error"
  )
  expect_identical(metrics_of(model), "mae") # a compile() that fails changes nothing
  expect_identical(metrics_of(compile(model, "sgd", "mse", weighted_metrics = "mape")), "mape")
  expect_length(metrics_of(compile(model, "sgd", "mse", metrics = NULL)), 0)
})

test_that("validation_steps and validation_batch_size are what they say", {
  losses <- function(...) {
    fit(classifier(), iris_x, iris_y, shuffle = FALSE, verbose = 0, ...)$metrics$val_loss
  }
  first <- 1:20
  expect_equal(
    losses(
      validation_data = list(iris_x, iris_y),
      validation_batch_size = 10,
      validation_steps = 2
    ),
    losses(validation_data = list(iris_x[first, ], iris_y[first]))
  )
})

test_that("a model class with a compile of its own gets its arguments", {
  reticulate::py_run_string(
    "
import keras
class OwnCompile(keras.Sequential):
    def compile(self, critic_optimizer, loss):
        super().compile(loss=loss)
        self.critic_optimizer = critic_optimizer
"
  )
  model <- reticulate::py$OwnCompile(list(keras$Input(list(4L)), keras$layers$Dense(1L)))
  compile(model, loss = "mse", critic_optimizer = "adam")
  expect_identical(model$critic_optimizer, "adam")
  expect_length(fit(model, iris_x, iris_x[, 1], verbose = 0)$metrics$loss, 1)
})

test_that("view_metrics is checked", {
  expect_error(
    fit(regressor(), iris_x, iris_x[, 1], view_metrics = "yes"),
    class = "kerasfit_error_argument"
  )
  expect_silent(fit(regressor(), iris_x, iris_x[, 1], view_metrics = FALSE, verbose = 0))
})

test_that("a model class with a fit of its own gets further arguments", {
  reticulate::py_run_string(
    "
import keras
class OwnFit(keras.Sequential):
    def fit(self, *args, temperature=None, **kwargs):
        self.temperature = temperature
        return super().fit(*args, **kwargs)
"
  )
  model <- reticulate::py$OwnFit(list(keras$Input(list(4L)), keras$layers$Dense(1L)))
  compile(model, "sgd", "mse")
  history <- fit(
    model,
    iris_x,
    iris_x[, 1],
    temperature = 0.5,
    epochs = 3,
    initial_epoch = 2,
    verbose = 0
  )
  expect_equal(model$temperature, 0.5)
  expect_identical(history$params$epoch, 2:3)
})

test_that("what Python warns of is an R warning", {
  expect_warning(
    history <- fit(classifier(), reticulate::py_iterator(batches()), epochs = 3, verbose = 0),
    "no batch for epoch 2",
    class = "kerasfit_warning"
  )
  expect_identical(history$params$epoch, 1L)
})

test_that("an R function may collect garbage and call Python while a step runs in the background", {
  skip_unless_all()
  batch <- function() {
    gc()
    rows <- sample(150, 30)
    as.numeric(keras$backend$floatx() == "float32")
    list(iris_x[rows, ], iris_y[rows])
  }
  for (times in 1:2) {
    history <- fit(classifier(), batch, steps_per_epoch = 6, epochs = 2, verbose = 0)
    expect_true(all(is.finite(history$metrics$loss)))
  }
})

test_that("functions by the names of hooks are a callback, whose epochs and batches count from 1", {
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
    "In `on_epoch_end\\(\\)` of `callbacks`, epoch 1.*no disk",
    class = "kerasfit_error_user"
  )
})

test_that("an argument after the last comma is none", {
  model <- classifier()
  expect_s3_class(fit(model, iris_x, iris_y, verbose = 0, ), "keras_training_history")
  expect_s3_class(fit(model, iris_x, iris_y, , verbose = 0), "keras_training_history")
  expect_named(evaluate(model, iris_x, iris_y, verbose = 0, ), c("loss", "accuracy"))
  expect_identical(dim(predict(model, iris_x, verbose = 0, )), c(150L, 3L))
  expect_error(fit(model, iris_x, iris_y, , 3), "must be named", class = "kerasfit_error_argument")
})

test_that("a model may have been made by a module that converts to R's values", {
  for (convert in c(TRUE, FALSE)) {
    library <- reticulate::import("keras", convert = convert)
    inputs <- library$Input(list(4L))
    model <- library$Model(
      inputs,
      library$layers$Dense(3L, activation = "softmax", name = "outpt")(inputs)
    )
    model |>
      compile(
        library$optimizers$SGD(0.1),
        "sparse_categorical_crossentropy",
        metrics = c("accuracy", "mae")[1]
      )
    history <- fit(
      model,
      iris_x,
      iris_y,
      verbose = 0,
      callbacks = library$callbacks$EarlyStopping(monitor = "loss")
    )
    expect_named(history$metrics, c("loss", "accuracy"))
    expect_named(evaluate(model, iris_x, iris_y, verbose = 0), c("loss", "accuracy"))
    expect_identical(dim(predict(model, iris_x, verbose = 0)), c(150L, 3L))
    expect_output(summary(model), "outpt")
    two <- library$Model(
      inputs,
      list(
        library$layers$Dense(1L, name = "a")(inputs),
        library$layers$Dense(1L, name = "b")(inputs)
      )
    )
    expect_error(
      compile(two, "sgd", "mse", metrics = "mae"),
      "1 element for the 2 outputs of the model: a, b"
    )
  }
})

test_that("a weight of a class may have a name of its own, as one taken from a table has", {
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
