test_that("use_devices() trains on several devices with the results of one", {
  found <- in_new_session(
    function() {
      library(kerasfit)
      x <- as.matrix(iris[1:4])
      train <- function() {
        set_random_seed(1)
        model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
        compile(model, "adam", "sparse_categorical_crossentropy", metrics = "accuracy")
        history <- fit(model, x, iris$Species, epochs = 2, verbose = 0)
        c(unlist(history$metrics), predict(model, x, verbose = 0)[1:5, ])
      }
      said <- function(code) {
        messages <- character()
        withCallingHandlers(code, message = function(m) {
          messages <<- c(messages, conditionMessage(m))
          invokeRestart("muffleMessage")
        })
        messages
      }
      error <- function(code) tryCatch(code, kerasfit_error = identity)
      one <- train()
      list(
        one = one,
        said = said(names <- use_devices()),
        names = names,
        four = train(),
        two = said(use_devices(2)),
        chosen = said(use_devices(c("cpu:1", "cpu:3"))),
        too_many = error(use_devices(5)),
        unknown = error(use_devices("gpu:0")),
        undone = said(use_devices(NULL))
      )
    },
    env = c(KERAS_BACKEND = "jax", XLA_FLAGS = "--xla_force_host_platform_device_count=4")
  )
  expect_equal(found$four, found$one, tolerance = 1e-5)
  expect_identical(found$names, paste0("cpu:", 0:3))
  expect_match(found$said, "Training on 4 devices: \"cpu:0\"", fixed = TRUE)
  expect_match(found$two, "Training on 2 devices")
  expect_match(found$chosen, "\"cpu:1\" and \"cpu:3\"", fixed = TRUE)
  expect_match(found$undone, "JAX's default device")
  expect_s3_class(found$too_many, "kerasfit_error_argument")
  expect_identical(found$too_many$argument, "devices")
  expect_match(conditionMessage(found$too_many), "from 1 to 4, not 5.", fixed = TRUE)
  expect_match(conditionMessage(found$unknown), "which is no device", fixed = TRUE)
})

test_that("use_devices() with another backend says what works instead", {
  skip_if(identical(keras$backend$backend(), "jax"), "about the other backends")
  error <- expect_error(use_devices(2), class = "kerasfit_error_state")
  expect_match(conditionMessage(error), "Only JAX computes on several devices", fixed = TRUE)
  expect_identical(rlang::call_name(conditionCall(error)), "use_devices")
})
