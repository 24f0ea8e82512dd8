# Sessions in the C locale, as in many containers, where names of files must be ASCII.

skip_on_cran()
skip_if_not_installed("callr")
skip_on_os(c("windows", "mac"))

test_that("a path that the locale cannot represent is an error before training", {
  skip_unless_all()
  folder <- withr::local_tempdir()
  said <- in_new_session(
    function(folder) {
      library(kerasfit)
      model <- keras$Sequential(list(keras$layers$Dense(1L)))
      compile(model, "sgd", "mse")
      # as written in a script, and as bytes from the system
      paths <- file.path(folder, c("\u00fcml\u00e4ut", rawToChar(as.raw(c(0xc3, 0xbc)))))
      uses <- list(
        filepath = function(path) callback_model_checkpoint(paste0(path, ".keras")),
        filename = function(path) callback_csv_logger(paste0(path, ".csv")),
        filename = function(path) callback_log(paste0(path, ".csv")),
        backup_dir = callback_backup_and_restore,
        log_dir = callback_tensorboard,
        view_metrics = function(path) fit(model, matrix(1:4), 1:4, view_metrics = path, verbose = 0)
      )
      errors <- lapply(rep(uses, each = 2), function(use) use)
      errors <- Map(
        function(use, path) tryCatch(use(path), error = identity, warning = identity),
        errors,
        paths
      )
      list(
        kind = vapply(errors, inherits, NA, "kerasfit_error_argument"),
        argument = vapply(errors, `[[`, "", "argument"),
        message = vapply(errors, conditionMessage, ""),
        built = model$built
      )
    },
    c(LC_ALL = "C", KERAS_BACKEND = "jax"),
    list(folder)
  )
  expect_true(all(said$kind))
  expect_identical(unname(said$argument), names(said$argument))
  expect_match(
    said$message,
    "`[a-z_]+` has characters that paths cannot have in this locale, C: .*\n.*LC_ALL=C.UTF-8"
  )
  expect_false(said$built)
  expect_length(list.files(folder), 0)
})

test_that("metrics can have any name, and a home that the locale cannot represent has no cache", {
  home <- file.path(withr::local_tempdir(), "\u00fcml\u00e4ut")
  skip_if_not(
    suppressWarnings(dir.create(home)),
    "The file system or this session's locale has no such names."
  )
  for (python_first in c(FALSE, if (tests_all) TRUE)) {
    env <- c(LC_ALL = "C", KERAS_BACKEND = "jax", HOME = home)
    for (name in c(
      "R_USER_CACHE_DIR",
      "XDG_CACHE_HOME",
      "KERASFIT_CACHE",
      "JAX_COMPILATION_CACHE_DIR",
      "_R_CHECK_PACKAGE_NAME_"
    )) {
      env[[name]] <- NA
    }
    trained <- in_new_session(
      function(python_first) {
        if (python_first) {
          reticulate::py_run_string("x = 1")
        }
        library(kerasfit)
        model <- keras$Sequential(list(keras$layers$Dense(1L)))
        compile(model, "sgd", "mse", metrics = keras$metrics$MeanSquaredError(name = "\u00e4"))
        folder <- tempfile()
        dir.create(folder)
        said <- NULL
        lines <- utils::capture.output(withCallingHandlers(
          history <- fit(
            model,
            matrix(1:20 / 20),
            1:20 / 20,
            epochs = 2,
            verbose = 2,
            view_metrics = folder
          ),
          kerasfit_warning = function(warning) {
            said <<- conditionMessage(warning)
            invokeRestart("muffleWarning")
          }
        ))
        umlaut <- "\u00e4"
        seen <- NULL
        callback <- list(on_epoch_end = function(epoch, logs) {
          seen <<- logs[[umlaut]]
          stats::setNames(list(7), paste0("o", umlaut))
        })
        data <- stats::setNames(data.frame(1:20 / 20), umlaut)
        y <- factor(rep(c(umlaut, "b"), 10), c("b", umlaut))
        more <- fit(model, data, y, callbacks = callback, verbose = 0)
        error <- tryCatch(fit(model, data, factor(rep("\u00fc", 20))), error = identity)
        x <- keras$Input(list(1L))
        two <- keras$Model(
          x,
          reticulate::py_eval("lambda a, b: {'\u00e4': a, 'b': b}")(
            keras$layers$Dense(1L)(x),
            keras$layers$Dense(1L)(x)
          )
        )
        compile(two, "sgd", stats::setNames(list("mse", "mae"), c(umlaut, "b")))
        found <- list(
          history$metrics[[umlaut]],
          seen,
          more$metrics[[paste0("o", umlaut)]],
          evaluate(model, data, y, verbose = 0)[[umlaut]],
          predict(two, 1:3, verbose = 0)[[umlaut]],
          fit(two, 1:3, stats::setNames(list(1:3, 1:3), c(umlaut, "b")), verbose = 0)
        )
        list(
          names(history$metrics),
          kerasfit:::read_state(folder)$status,
          length(grep("^Epoch [12]", lines)),
          said,
          lengths(found),
          more$params$levels,
          conditionMessage(error)
        )
      },
      env,
      list(python_first)
    )
    expect_identical(trained[[1]], c("loss", "\u00e4"))
    expect_identical(trained[2:3], list("ended", 2L))
    expect_identical(trained[[5]], c(2L, 1L, 1L, 1L, 3L, 2L))
    expect_identical(trained[[6]], c("b", "\u00e4"))
    expect_match(
      trained[[7]],
      "has a level \u00fc that the training data did not have: the levels are b and \u00e4",
      fixed = TRUE
    )
    expect_match(
      trained[[4]],
      "Compiled programs are not kept .* characters that the locale"
    )
    expect_identical(list.files(dirname(home)), basename(home))
  }
})
