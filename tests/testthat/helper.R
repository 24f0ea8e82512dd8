# A small classifier for iris, and its data in an order that is no order.

iris_rows <- c(rbind(1:50, 51:100, 101:150))
iris_x <- unname(as.matrix(datasets::iris[iris_rows, 1:4]))
iris_y <- datasets::iris$Species[iris_rows]

classifier <- function(
  units = 3L,
  loss = "sparse_categorical_crossentropy",
  metrics = "accuracy",
  ...
) {
  set_random_seed(1)
  model <- keras$Sequential(list(
    keras$Input(list(4L)),
    keras$layers$Dense(8L, activation = "relu"),
    keras$layers$Dense(units, activation = "softmax")
  ))
  compile(model, optimizer = "adam", loss = loss, metrics = metrics, ...)
}

regressor <- function() {
  set_random_seed(1)
  model <- keras$Sequential(list(keras$Input(list(4L)), keras$layers$Dense(1L)))
  compile(model, "sgd", "mse")
}

#' The weights after training in some way, as plain numbers, each step by the plan that arrays and generators share
weights_after <- function(model, ...) {
  withr::local_options(kerasfit.plan = "loop")
  fit(model, ..., verbose = 0, shuffle = FALSE)
  unlist(model$get_weights())
}

# For sessions of their own that are not about a backend: the one that loads soonest, or the one that is asked for
session_backend <- c(KERAS_BACKEND = Sys.getenv("KERASFIT_TEST_SESSIONS", "jax"))

#' What takes long and seldom finds anything is left to `make test-all`
tests_all <- nzchar(Sys.getenv("KERASFIT_TEST_ALL"))
skip_unless_all <- function() skip_if_not(tests_all, "part of `make test-all`")

#' The environment of a program that this session starts
env_of_child <- function() {
  c("current", session_backend, R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep))
}

#' Run code in an R session of its own, with Python not yet loaded
in_new_session <- function(code, env = character(), args = list(), libpath = .libPaths()) {
  skip_if_not_installed("callr")
  if (!"KERAS_BACKEND" %in% names(env)) {
    env <- c(env, session_backend)
  }
  callr::r(code, args, env = c(callr::rcmd_safe_env(), env), libpath = libpath)
}

#' Run a script as users do: without the log level that a library loaded by another test set for this process
rscript_as_user <- function(script, stdout, stderr) {
  skip_if_not_installed("callr")
  withr::local_envvar(TF_CPP_MIN_LOG_LEVEL = NA)
  callr::rscript(script, show = FALSE, stdout = stdout, stderr = stderr)
}

#' A history as fit() returns it, without training
a_history <- function(metrics, epoch = seq_along(metrics[[1]]), ...) {
  params <- utils::modifyList(
    list(
      epochs = max(epoch, 1L),
      initial_epoch = min(epoch, 1L),
      steps = 4L,
      samples = 120L,
      validation_samples = 30L,
      batch_size = 32L,
      verbose = 1L,
      epoch = epoch
    ),
    list(...)
  )
  structure(list(params = params, metrics = metrics), class = "keras_training_history")
}
