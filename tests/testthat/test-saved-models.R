skip_on_cran()

copy_of <- function(object) unserialize(serialize(object, NULL))

test_that("a model survives saveRDS() with its weights, optimizer, levels and random state", {
  model <- classifier()
  fit(model, iris_x, iris_y, epochs = 2, verbose = 0)
  file <- withr::local_tempfile()
  saveRDS(list(a = model), file)
  read <- readRDS(file)$a
  expect_true(reticulate::py_is_null_xptr(read))
  expect_identical(predict(read, iris_x, verbose = 0), predict(model, iris_x, verbose = 0))
  set_random_seed(2)
  here <- fit(model, iris_x, iris_y, verbose = 0)
  set_random_seed(2)
  there <- fit(read, iris_x, iris_y, verbose = 0)
  expect_identical(there$metrics, here$metrics)
  expect_identical(there$params$levels, levels(iris_y))
  # it is saved again, with what has been learnt since
  expect_identical(copy_of(read)$get_weights(), model$get_weights())
})

test_that("`$` and all functions make a model again that was read", {
  model <- classifier()
  weights <- model$get_weights()
  expect_identical(copy_of(model)$get_weights(), weights)
  expect_length(copy_of(model)$layers, 2)
  expect_output(print(summary(copy_of(model))), "Total params")
  expect_named(evaluate(copy_of(model), iris_x, iris_y, verbose = 0), c("loss", "accuracy"))
  read <- copy_of(model)
  compile(read, "sgd", "sparse_categorical_crossentropy")
  expect_match(class(read$optimizer)[[1]], "SGD")
  # read and saved again before it was used
  expect_identical(copy_of(copy_of(model))$get_weights(), weights)
})

test_that("workers get models, and return them", {
  skip_if_not_installed("callr")
  model <- classifier()
  answer <- in_new_session(
    function(model, x, y) {
      library(kerasfit)
      loss <- evaluate(model, x, y, verbose = 0)$loss
      fit(model, x, y, verbose = 0)
      list(loss = loss, model = model)
    },
    args = list(model, iris_x, iris_y),
    env = c(KERAS_BACKEND = reticulate::py_to_r(keras$backend$backend()))
  )
  expect_equal(answer$loss, evaluate(model, iris_x, iris_y, verbose = 0)$loss)
  expect_false(identical(answer$model$get_weights(), model$get_weights()))
})

test_that("models that are too large or cannot be made again are errors when they are used", {
  model <- classifier()
  withr::local_options(kerasfit.saved_size = 100)
  expect_warning(large <- copy_of(model), "larger than `options", class = "kerasfit_warning")
  expect_error(
    predict(large, iris_x),
    "belongs to another R session",
    class = "kerasfit_error_argument"
  )
  expect_error(large$layers, "kerasfit.saved_size", fixed = TRUE)
  withr::local_options(kerasfit.saved_size = 1e8)
  own <- keras$Sequential(list(keras$Input(list(4L)), keras$layers$Dense(3L)))
  compile(own, "adam", function(y_true, y_pred) keras$ops$mean(y_pred))
  expect_warning(read <- copy_of(own), "other processes do not know")
  expect_error(predict(read, iris_x), "belongs to another R session")
  frozen <- classifier()
  fit(frozen, iris_x, iris_y, verbose = 0)
  first <- frozen$layers[[1]]
  first$trainable <- FALSE
  expect_warning(copy_of(frozen), "frozen")
  damaged <- serialize(model, NULL)
  at <- grepRaw("kerasfit state", damaged)
  damaged[at - 100] <- as.raw(bitwXor(as.integer(damaged[at - 100]), 255L))
  expect_error(predict(unserialize(damaged), iris_x), "damaged", class = "kerasfit_error")
})

test_that("saving in a fork or with an old format writes no state", {
  model <- classifier()
  old <- unserialize(serialize(model, NULL, version = 2))
  expect_error(predict(old, iris_x), "belongs to another R session")
  skip_on_os("windows")
  forked <- parallel::mccollect(parallel::mcparallel(length(serialize(model, NULL))))[[1]]
  expect_lt(forked, length(serialize(model, NULL)))
})
