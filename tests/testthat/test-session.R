skip_on_cran()
skip_if_not_installed("callr")

test_that("nothing Python loads before it is needed", {
  loaded <- in_new_session(function() {
    library(kerasfit)
    keras
    tuple
    reticulate::py_available()
  })
  expect_false(loaded)
})

test_that("examples do not start Python to find out whether there is Keras, but for people and developers", {
  answer <- function() c(kerasfit:::has_keras(), reticulate::py_available())
  expect_identical(in_new_session(answer, c(NOT_CRAN = "")), c(FALSE, FALSE))
  expect_identical(in_new_session(answer, c(NOT_CRAN = "true")), c(TRUE, TRUE))
  expect_identical(
    in_new_session(answer, c(NOT_CRAN = "true", RETICULATE_PYTHON = "/nonexistent")),
    c(FALSE, FALSE)
  )
})

test_that("environment variables that a child process inherits are those that the help page names", {
  cache <- withr::local_tempdir()
  changed <- function() {
    library(kerasfit)
    before <- Sys.getenv()
    keras$layers
    after <- Sys.getenv()
    ours <- grep("^(KERAS|JAX_|TF_XLA|TF_CPP)", names(after), value = TRUE)
    setdiff(ours, names(before)[before == after[names(before)]])
  }
  for (backend in c("tensorflow", if (tests_all) c("jax", "torch"))) {
    none <- c(
      TF_XLA_FLAGS = NA,
      JAX_COMPILATION_CACHE_DIR = NA,
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = NA,
      TF_CPP_MIN_LOG_LEVEL = NA,
      "_R_CHECK_PACKAGE_NAME_" = NA
    )
    found <- in_new_session(changed, c(KERAS_BACKEND = backend, KERASFIT_CACHE = cache, none))
    expect_identical(found, c("TF_CPP_MIN_LOG_LEVEL", if (backend == "tensorflow") "TF_XLA_FLAGS"))
  }
})

test_that("nothing loads before it is needed where Python runs already, and use_backend() works there", {
  cache <- withr::local_tempdir()
  answer <- in_new_session(
    function() {
      modules <- function() names(reticulate::import("sys")$modules)
      reticulate::py_run_string("x = 1")
      library(kerasfit)
      before <- "keras" %in% modules()
      use_backend("jax")
      list(before, keras$backend$backend(), Sys.getenv("KERASFIT_CACHE"))
    },
    c(KERAS_BACKEND = NA, KERASFIT_CACHE = cache, "_R_CHECK_PACKAGE_NAME_" = NA)
  )
  expect_identical(answer, list(FALSE, "jax", cache))
})

test_that("a Keras that does not load is an error that says why, whenever Python began, each time", {
  for (python_first in c(FALSE, TRUE)) {
    error <- in_new_session(
      function(python_first) {
        if (python_first) {
          reticulate::py_run_string("x = 1")
        }
        library(kerasfit)
        try(keras$layers, silent = TRUE)
        tryCatch(keras$layers, error = identity)
      },
      c(KERAS_BACKEND = "abacus"),
      list(python_first)
    )
    expect_s3_class(error, "kerasfit_error_python")
    expect_match(
      conditionMessage(error),
      'cannot be loaded with the backend "abacus": .*install_kerasfit'
    )
    expect_match(error$python_traceback, "abacus")
  }
})

test_that("PyTorch computes with its own BLAS, not R's, and a warning says so where it is too late for that", {
  skip_if_not(Sys.info()[["sysname"]] == "Linux")
  skip_unless_all()
  # whose `sgemm_` PyTorch's library got, as the linker says
  bindings <- function(code) {
    log <- withr::local_tempfile()
    in_new_session(code, c(KERAS_BACKEND = "torch", LD_DEBUG = "bindings", LD_DEBUG_OUTPUT = log))
    lines <- unlist(lapply(Sys.glob(paste0(log, ".*")), readLines))
    grep("binding file [^ ]*/libtorch_cpu.so .*`sgemm_'", lines, value = TRUE)
  }
  early <- bindings(function() {
    library(kerasfit)
    reticulate::import("torch")
    keras$layers
  })
  expect_match(early, "to [^ ]*/libtorch_cpu.so ")
  late <- in_new_session(
    function() {
      reticulate::import("torch")
      library(kerasfit)
      tryCatch(keras$layers, warning = conditionMessage)
    },
    c(KERAS_BACKEND = "torch")
  )
  skip_if(grepl("libRblas", extSoftVersion()[["BLAS"]]), "R's own BLAS, which has no such function")
  expect_match(late, "PyTorch was loaded before kerasfit and computes with R's BLAS")
})

test_that("use_backend() chooses the backend, before Keras loads", {
  for (backend in c("torch", if (tests_all) "jax")) {
    chosen <- in_new_session(
      function(backend) {
        library(kerasfit)
        use_backend(backend)
        model <- keras$Sequential(list(keras$layers$Dense(1L)))
        compile(model, "adam", "mse")
        history <- fit(
          model,
          matrix(rnorm(40), 20),
          rnorm(20),
          epochs = 3,
          validation_split = 0.2,
          verbose = 0
        )
        list(keras$backend$backend(), history$metrics)
      },
      c(KERAS_BACKEND = NA),
      list(backend)
    )
    expect_identical(chosen[[1]], backend)
    expect_identical(lengths(chosen[[2]]), c(loss = 3L, val_loss = 3L))
  }
})

test_that("use_backend() says so when it is too late", {
  loaded <- keras$backend$backend()
  other <- setdiff(c("tensorflow", "jax"), loaded)[[1]]
  expect_error(
    use_backend(other),
    sprintf("Keras has loaded with \"%s\" already", loaded),
    class = "kerasfit_error_state"
  )
  expect_identical(use_backend(loaded), loaded)
  expect_error(use_backend("theano"), "must be one of", class = "kerasfit_error_argument")
})

test_that("without a choice the backend is tensorflow", {
  backend <- function() {
    library(kerasfit)
    keras$backend$backend()
  }
  expect_identical(in_new_session(backend, c(KERAS_BACKEND = "")), "tensorflow")
})

test_that("loading declares the Python requirements of the backend", {
  required <- in_new_session(
    function() {
      library(kerasfit)
      before <- reticulate::py_require()$packages
      use_backend("jax", gpu = FALSE)
      hidden <- Sys.getenv("JAX_PLATFORMS")
      after <- reticulate::py_require()$packages
      use_backend("jax", gpu = TRUE)
      list(
        before,
        after,
        reticulate::py_require()$packages,
        hidden,
        Sys.getenv("JAX_PLATFORMS", "not set")
      )
    },
    c(KERAS_BACKEND = "", JAX_PLATFORMS = NA)
  )
  expect_true(all(
    c("keras>=3.9", "numpy>=1.26", "pandas>=2.0", "tensorflow>=2.17") %in% required[[1]]
  ))
  expect_true("jax>=0.5.3" %in% required[[2]])
  expect_false("tensorflow>=2.17" %in% required[[2]])
  if (Sys.info()[["sysname"]] == "Linux") {
    expect_true("jax[cuda12]>=0.5.3" %in% required[[3]])
  }
  expect_identical(required[4:5], list("cpu", "not set"))
  expect_error(
    use_backend("jax", gpu = "no"),
    "`gpu` must be TRUE, FALSE or NA",
    class = "kerasfit_error_argument"
  )
})

test_that("Keras loads without a word on the console", {
  script <- withr::local_tempfile(fileext = ".R")
  writeLines("library(kerasfit); invisible(keras$Sequential())", script)
  err <- withr::local_tempfile()
  rscript_as_user(script, stdout = err, stderr = "2>&1")
  expect_identical(readLines(err), character())
})

test_that("set_random_seed() seeds R and Keras", {
  draw <- function() {
    set_random_seed(42)
    list(
      runif(1),
      keras$random$uniform(list(1L))$numpy(),
      keras$layers$Dense(2L)$kernel_initializer(list(2L, 2L))$numpy()
    )
  }
  expect_identical(draw(), draw())
  expect_error(
    set_random_seed("a"),
    "`seed` must be a whole number",
    class = "kerasfit_error_argument"
  )
  expect_error(set_random_seed(-1), "not -1", class = "kerasfit_error_argument")
})

test_that("beside keras3, kerasfit's methods are used while it is attached, and nothing is said of methods", {
  # a package of that name with methods for the same classes, as keras3 has them
  library_with_keras3 <- withr::local_tempdir()
  source <- file.path(withr::local_tempdir(), "keras3")
  dir.create(file.path(source, "R"), recursive = TRUE)
  writeLines(
    c(
      "Package: keras3",
      "Version: 1.0",
      "Title: T",
      "Description: D.",
      "License: MIT",
      "Imports: generics"
    ),
    file.path(source, "DESCRIPTION")
  )
  writeLines(
    c(
      "importFrom(generics, fit)",
      "export(evaluate, fit)",
      "S3method(generics::fit, keras.src.models.model.Model)",
      "S3method(print, keras_training_history)",
      "S3method(evaluate, keras.src.models.model.Model)"
    ),
    file.path(source, "NAMESPACE")
  )
  writeLines(
    c(
      "fit.keras.src.models.model.Model <- function(object, ...) 'keras3'",
      "evaluate <- function(object, ...) UseMethod('evaluate')",
      "evaluate.keras.src.models.model.Model <- function(object, ...) 'keras3'",
      "print.keras_training_history <- function(x, ...) cat('keras3')"
    ),
    file.path(source, "R", "all.R")
  )
  utils::install.packages(source, library_with_keras3, repos = NULL, type = "source", quiet = TRUE)

  for (order in list(c("kerasfit", "keras3"), c("keras3", "kerasfit"))) {
    answer <- in_new_session(
      function(order) {
        said <- character()
        withCallingHandlers(
          for (package in order) {
            library(package, character.only = TRUE, warn.conflicts = FALSE)
          },
          packageStartupMessage = function(m) {
            said <<- c(said, conditionMessage(m))
            invokeRestart("muffleMessage")
          }
        )
        model <- structure(
          list(),
          class = c("keras.src.models.model.Model", "keras.src.trainers.trainer.Trainer")
        )
        history <- structure(
          list(params = list(), metrics = list()),
          class = "keras_training_history"
        )
        ours <- history
        class(ours) <- c("kerasfit_history", class(ours))
        by_keras3 <- function(value) identical(try(value, silent = TRUE), "keras3")
        trained <- function() {
          c(
            fit = by_keras3(generics::fit(model, view_metrics = "no")),
            evaluate = by_keras3(keras3::evaluate(model, 1, 2, 3))
          )
        }
        attached <- trained()
        printed <- c(capture.output(print(ours)), capture.output(print(history)))
        schedule <- eval(
          formals(callback_learning_rate_scheduler)$first_epoch,
          asNamespace("kerasfit")
        )
        detach("package:kerasfit")
        list(
          said = said,
          attached = attached,
          detached = trained(),
          printed = printed,
          schedule = schedule
        )
      },
      args = list(order),
      libpath = c(library_with_keras3, .libPaths())
    )
    expect_identical(answer$attached, c(fit = FALSE, evaluate = FALSE))
    expect_identical(answer$detached, c(fit = TRUE, evaluate = TRUE))
    expect_match(answer$printed[[1]], "Training history")
    expect_identical(answer$printed[-1], "keras3")
    expect_length(answer$said, 1)
    expect_match(answer$said, "counts epochs from 0")
  }
})

test_that("histories that keras3 has made are printed and plotted without it", {
  skip_if(nzchar(system.file(package = "keras3")), "keras3 is installed")
  history <- structure(
    list(params = list(), metrics = list(loss = c(3, 2))),
    class = "keras_training_history"
  )
  expect_output(print(history), "epochs 1 to 2")
  expect_identical(as.data.frame(history)$value, c(3, 2))
})

test_that("compiled programs are kept where the option says, and nowhere if it says FALSE", {
  train <- function(cache) {
    options(
      kerasfit.cache = cache,
      kerasfit.plan = if (Sys.getenv("KERAS_BACKEND") == "tensorflow") "xla" else "auto"
    )
    library(kerasfit)
    model <- keras$Sequential(list(keras$layers$Dense(1L)))
    compile(model, "sgd", "mse")
    fit(model, matrix(1:20 / 20), 1:20 / 20, verbose = 0)
    Sys.getenv("KERASFIT_CACHE")
  }
  cache <- withr::local_tempdir()
  for (backend in c("jax", if (tests_all) "tensorflow")) {
    # what this session's Python has been told, its children inherit
    inherited <- c(TF_XLA_FLAGS = "", JAX_COMPILATION_CACHE_DIR = NA, "_R_CHECK_PACKAGE_NAME_" = NA)
    in_new_session(train, c(KERAS_BACKEND = backend, inherited), list(cache))
    expect_gt(length(list.files(cache, pattern = "cache", recursive = TRUE)), 0)
    unlink(list.files(cache, full.names = TRUE), recursive = TRUE)
  }
  expect_identical(in_new_session(train, args = list(FALSE)), "")
})

test_that("a cache that others may write to is not used, and a warning says so once", {
  skip_on_os("windows")
  cache <- withr::local_tempdir()
  Sys.chmod(cache, "0777", use_umask = FALSE)
  said <- in_new_session(
    function(cache) {
      options(kerasfit.cache = cache)
      library(kerasfit)
      said <- character()
      withCallingHandlers(
        for (i in 1:2) {
          model <- keras$Sequential(list(keras$layers$Dense(1L)))
          compile(model, "sgd", "mse")
          history <- fit(model, matrix(1:20 / 20), 1:20 / 20, verbose = 0)
          stopifnot(is.finite(history$metrics$loss))
        },
        kerasfit_warning = function(warning) {
          said <<- c(said, conditionMessage(warning))
          invokeRestart("muffleWarning")
        }
      )
      said
    },
    c(KERAS_BACKEND = "jax", JAX_COMPILATION_CACHE_DIR = NA, "_R_CHECK_PACKAGE_NAME_" = NA),
    list(cache)
  )
  expect_length(said, 1)
  expect_match(said, "other users may write")
  expect_match(said, basename(cache), fixed = TRUE)
  expect_length(list.files(cache, all.files = TRUE, no.. = TRUE), 0)
})

test_that("steps that change their arguments change no data of R's", {
  skip_unless_all()
  answer <- in_new_session(
    function() {
      library(kerasfit)
      reticulate::py_run_string(
        "
import keras
class Scaled(keras.layers.Layer):
    def call(self, x):
        x *= 2
        return x
def loss(y_true, y_pred):
    y_true *= 3
    return keras.ops.mean((keras.ops.cast(y_true, y_pred.dtype) - y_pred) ** 2, axis=-1)
"
      )
      keras$config$set_floatx("float64") # which is R's own, so that no conversion is a copy
      main <- reticulate::import_main()
      model <- keras$Sequential(list(keras$Input(list(1L)), main$Scaled(), keras$layers$Dense(1L)))
      compile(model, keras$optimizers$SGD(0), main$loss)
      data <- list(
        x = matrix(seq(0, 1, length.out = 64)),
        y = seq(1, 2, length.out = 64),
        w = seq(0.5, 1, length.out = 64)
      )
      before <- lapply(data, function(values) values + 0)
      losses <- function(shuffle, batch_size = 64L) {
        run <- fit(
          model,
          data$x,
          data$y,
          sample_weight = data$w,
          validation_data = list(data$x, data$y, data$w),
          epochs = 4,
          batch_size = batch_size,
          shuffle = shuffle,
          verbose = 0
        )
        c(run$metrics$loss, run$metrics$val_loss)
      }
      spread <- c(
        diff(range(losses(TRUE))),
        diff(range(losses(FALSE))),
        diff(range(losses(FALSE, 16L)))
      )
      for (i in 1:2) {
        evaluate(model, data$x, data$y, sample_weight = data$w, verbose = 0)
      }
      predict(model, data$x, verbose = 0)
      list(spread = spread, unchanged = identical(data, before))
    },
    c(KERAS_BACKEND = "torch")
  )
  expect_true(answer$unchanged)
  expect_lt(max(answer$spread), 1e-6)
})

test_that("in a copy of the process that Keras has loaded in, each use of it is an error at once, which names what works", {
  skip_on_os("windows")
  answers <- in_new_session(function() {
    library(kerasfit)
    x <- matrix(1:30 / 30, 10)
    model <- keras$Sequential(list(keras$layers$Dense(1L)))
    uses <- list(
      function() fit(model, x, x[, 1], verbose = 0),
      function() compile(model, "sgd", "mse"),
      function() evaluate(model, x, x[, 1]),
      function() predict(model, x),
      function() summary(model),
      function() keras$Sequential(list(keras$layers$Dense(1L)))
    )
    jobs <- lapply(uses, function(use) {
      parallel::mcparallel(tryCatch(use(), error = function(error) {
        c(class(error)[[1]], conditionMessage(error))
      }))
    })
    answers <- parallel::mccollect(jobs, wait = FALSE, timeout = 60)
    while (length(more <- parallel::mccollect(jobs, wait = FALSE, timeout = 1))) {
      answers <- c(answers, more)
    }
    lapply(jobs, function(job) tools::pskill(job$pid, tools::SIGKILL))
    unname(answers)
  })
  answers <- Filter(Negate(is.null), answers)
  expect_length(answers, 6)
  for (answer in answers) {
    expect_identical(answer[[1]], "kerasfit_error_state")
    expect_match(answer[[2]], "copy of the process.*makePSOCKcluster.*callr.*multisession")
  }
})

test_that("a copy of a process that Keras has not loaded in may load and use it", {
  skip_on_os("windows")
  expect_identical(
    in_new_session(function() {
      library(kerasfit)
      job <- parallel::mcparallel({
        model <- compile(keras$Sequential(list(keras$layers$Dense(1L))), "sgd", "mse")
        class(fit(model, matrix(1:30 / 30, 10), 1:10 / 10, verbose = 0))
      })
      unname(parallel::mccollect(job, wait = TRUE))[[1]]
    }),
    c("kerasfit_history", "keras_training_history")
  )
})

test_that("a PyDataset with workers does not hang, be it written in R or call R", {
  skip_if_not_installed("callr")
  steps <- function() {
    library(kerasfit)
    x <- matrix(1:80 / 80, ncol = 4)
    model <- compile(keras$Sequential(list(keras$layers$Dense(1L))), "sgd", "mse")
    batch <- function(number) tuple(x[number * 5 + 1:5, ], x[number * 5 + 1:5, 1])
    calling <- reticulate::py_run_string(
      "
import keras
class Calling(keras.utils.PyDataset):
    def __init__(self, batch, **options):
        super().__init__(**options)
        self.batch = batch
    def __len__(self):
        return 4
    def __getitem__(self, number):
        return self.batch(number)
"
    )$Calling
    written <- reticulate::PyClass(
      "Written",
      inherit = keras$utils$PyDataset,
      defs = list(
        `__len__` = function(self) 4L,
        `__getitem__` = function(self, number) batch(number)
      )
    )
    datasets <- list(calling(batch, workers = 3L), written(workers = 3L))
    vapply(datasets, function(data) fit(model, data, epochs = 2, verbose = 0)$params$steps, 1L)
  }
  env <- c(callr::rcmd_safe_env(), session_backend)
  expect_identical(callr::r(steps, env = env, libpath = .libPaths(), timeout = 120), c(4L, 4L))
})
