# The data of iris in an order that mixes the species, and small models for them.

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

#' A generator of `n` batches for the classifier, which yields lists or tuples
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

#' The weights after training, with a plan that arrays and generators share
weights_after <- function(model, ...) {
  withr::local_options(kerasfit.plan = "loop")
  fit(model, ..., verbose = 0, shuffle = FALSE)
  unlist(model$get_weights())
}

# The backend of new sessions, unless a test needs a certain one: the one that loads fastest
session_backend <- c(KERAS_BACKEND = Sys.getenv("KERASFIT_TEST_SESSIONS", "jax"))

# Slow tests that seldom find anything run only in `make test-all`
tests_all <- nzchar(Sys.getenv("KERASFIT_TEST_ALL"))
skip_unless_all <- function() skip_if_not(tests_all, "part of `make test-all`")

#' The environment variables of a child process
env_of_child <- function() {
  c("current", session_backend, R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep))
}

#' Run code in a new R session, in which Python is not loaded
in_new_session <- function(code, env = character(), args = list(), libpath = .libPaths()) {
  skip_if_not_installed("callr")
  if (!"KERAS_BACKEND" %in% names(env)) {
    env <- c(env, session_backend)
  }
  callr::r(code, args, env = c(callr::rcmd_safe_env(), env), libpath = libpath)
}

#' Run a script without the log level that another test may have set in this process
rscript_as_user <- function(script, stdout, stderr) {
  skip_if_not_installed("callr")
  withr::local_envvar(TF_CPP_MIN_LOG_LEVEL = NA)
  callr::rscript(script, show = FALSE, stdout = stdout, stderr = stderr)
}

plot_methods <- c("base", if (rlang::is_installed("ggplot2")) "ggplot2")

#' A history like those of fit(), without training
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
