# Jumps out of R functions, from every place where Python calls them.

skip_on_cran()

#' Leave R code in each way from each place, and train normally after each, in a new session
#' @return A data frame with the place, the way, and what went wrong, or "".
leave_by_all_ways_from_all_places <- function() {
  library(kerasfit)
  options(kerasfit.plan = "step", keras.verbose = 0)
  set_random_seed(1)
  x <- matrix(rnorm(64 * 3), ncol = 3)
  y <- x[, 1]
  new_model <- function(..., loss = "mse", metrics = NULL) {
    compile(
      keras$Sequential(list(keras$Input(list(3L)), ..., keras$layers$Dense(1L))),
      "sgd",
      loss,
      metrics = metrics
    )
  }
  model <- new_model()

  # each function takes a promise whose evaluation leaves the place
  hook <- function(name, verb = fit, ...) {
    force(name)
    function(leave) {
      callbacks <- stats::setNames(list(function() leave), name)
      if (identical(verb, predict)) {
        predict(model, x, callbacks = callbacks)
      } else {
        verb(model, x, y, ..., callbacks = callbacks)
      }
    }
  }
  hooks <- c(
    "on_train_begin",
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_batch_end",
    "on_test_end",
    "on_epoch_end",
    "on_train_end"
  )
  batches <- reticulate::PyClass(
    "Batches",
    inherit = keras$utils$PyDataset,
    defs = list(
      leave = NULL,
      `__len__` = function(self) 2L,
      `__getitem__` = function(self, number) {
        self$leave()
        tuple(x, array(y))
      }
    )
  )
  places <- c(
    stats::setNames(lapply(hooks, hook, validation_data = list(x, y)), hooks),
    evaluate = hook("on_test_batch_end", evaluate),
    predict = hook("on_predict_batch_end", predict),
    class = function(leave) {
      fit(model, x, y, callbacks = Callback("Leaving", on_epoch_end = function() leave)())
    },
    schedule = function(leave) {
      fit(model, x, y, callbacks = callback_learning_rate_scheduler(function(epoch) leave))
    },
    generator = function(leave) fit(model, function() if (is.null(leave)) NULL else list(x, y)),
    validation = function(leave) {
      fit(model, x, y, validation_data = function() if (is.null(leave)) NULL else list(x, y))
    },
    prediction = function(leave) predict(model, function() if (is.null(leave)) NULL else list(x)),
    dataset = function(leave) {
      data <- batches()
      data$leave <- function() leave
      fit(model, data)
    },
    loss = function(leave) {
      fit(
        new_model(loss = function(y_true, y_pred) {
          leave
          keras$ops$mean(y_pred - y_true)
        }),
        x,
        y
      )
    },
    metric = function(leave) {
      fit(
        new_model(metrics = function(y_true, y_pred) {
          leave
          keras$ops$mean(y_pred - y_true)
        }),
        x,
        y
      )
    },
    layer = function(leave) {
      is_built <- FALSE
      layer <- reticulate::PyClass(
        "Leaving",
        inherit = keras$layers$Layer,
        defs = list(
          call = function(self, inputs) {
            if (is_built) {
              leave
            }
            inputs
          }
        )
      )
      new <- new_model(layer())
      is_built <- TRUE
      fit(new, x, y)
    },
    browser = function(leave) {
      old <- options(browser = function(url) leave)
      on.exit(options(old))
      fit(model, x, y, view_metrics = TRUE)
    }
  )

  own <- structure(
    class = c("http_404", "error", "condition"),
    list(message = "not found", call = NULL, status = 404L)
  )
  endlessly <- function() endlessly()
  is_error <- function(pattern, class = NULL) {
    function(place) {
      error <- tryCatch(place, error = identity)
      inherits(error, "kerasfit_error_user") &&
        grepl(pattern, conditionMessage(error$parent)) &&
        (is.null(class) || inherits(error$parent, class))
    }
  }
  would_have_jumped <- function(error) {
    inherits(error, "kerasfit_error_user") &&
      grepl("tried to jump out of", conditionMessage(error))
  }
  is_time_limit <- function(error) {
    inherits(error, "kerasfit_error_time_limit") &&
      grepl("elapsed time limit", conditionMessage(error))
  }
  limited <- function(place) {
    on.exit({
      setSessionTimeLimit()
      setTimeLimit()
    })
    is_time_limit(tryCatch(place, error = identity))
  }
  wait <- function() {
    for (i in 1:200) {
      Sys.sleep(0.01)
    }
  }
  # each function is called with a place and returns whether it was left as expected
  ways <- list(
    error = list(quote(stop("no")), is_error("^no$")),
    own = list(quote(stop(own)), is_error("not found", "http_404")),
    abort = list(quote(rlang::abort("no", class = "mine")), is_error("no", "mine")),
    warn2 = list(
      quote({
        options(warn = 2)
        warning("careful")
      }),
      function(place) {
        on.exit(options(warn = 0))
        is_error("careful|promise")(place) # the function is called again
      }
    ),
    memory = list(quote(numeric(1e14)), is_error("cannot allocate|vector size")),
    stack = list(quote(endlessly()), is_error("stack|infinite recursion")),
    nested = list(
      quote({
        options(expressions = sys.nframe() + 400)
        endlessly()
      }),
      function(place) {
        on.exit(options(expressions = 5000))
        is_error("stack|infinite recursion|too deeply")(place)
      }
    ),
    warning = list(quote(warning("careful")), function(place) {
      identical(tryCatch(place, warning = conditionMessage), "careful")
    }),
    condition = list(quote(rlang::signal("", "mine")), function(place) {
      identical(tryCatch(place, mine = function(e) 7), 7)
    }),
    restart = list(quote(invokeRestart("elsewhere", 7)), function(place) {
      identical(withRestarts(place, elsewhere = identity), 7)
    }),
    interrupt = list(quote(rlang::interrupt()), function(place) {
      result <- suppressMessages(tryCatch(place, interrupt = identity))
      inherits(result, "interrupt") || isTRUE(result$params$interrupted)
    }),
    time = list(
      quote({
        setTimeLimit(elapsed = 0.05)
        wait()
      }),
      limited
    ),
    session = list(
      quote({
        setSessionTimeLimit(elapsed = 0.05)
        setTimeLimit() # from here on, R checks the other limit
        wait()
      }),
      limited
    ),
    callCC = list(quote(leave(1)), function(place) {
      would_have_jumped(tryCatch(
        callCC(function(k) {
          leave <<- k
          place
        }),
        error = identity
      ))
    }),
    return = list(quote(leave), function(place) {
      elsewhere <- function() {
        delayedAssign("leave", return(1))
        delayed <<- environment()
        place
      }
      would_have_jumped(tryCatch(elsewhere(), error = identity))
    })
  )
  leave <- delayed <- NULL

  # later training must be the same as before
  weights <- model$get_weights()
  train <- function() {
    model$set_weights(weights)
    fit(model, x, y, shuffle = FALSE, callbacks = list(on_train_batch_end = function() NULL))
    c(unlist(model$get_weights()), unlist(evaluate(model, x, y)), predict(model, x))
  }
  expected <- train()
  results <- expand.grid(
    place = names(places),
    way = names(ways),
    wrong = "",
    stringsAsFactors = FALSE
  )
  if (!nzchar(Sys.getenv("KERASFIT_SOAK"))) {
    all <- nzchar(Sys.getenv("KERASFIT_TEST_ALL"))
    everywhere <- results$way %in%
      c("error", "interrupt", if (all) c("stack", "warning", "restart"))
    some <- results$place %in%
      c(
        "on_epoch_end",
        "generator",
        "loss",
        if (all) c("evaluate", "prediction", "dataset", "layer")
      )
    results <- results[
      everywhere | (some & results$way != "memory") | (some & results$place == "generator"),
    ]
  }
  for (i in seq_len(nrow(results))) {
    place <- places[[results$place[i]]]
    way <- ways[[results$way[i]]]
    code <- if (results$way[i] == "return") quote(get("leave", delayed)) else way[[1]]
    env <- environment()
    delayedAssign("leaving", eval(code, env))
    as_expected <- tryCatch(way[[2]](place(leaving)), error = function(error) {
      paste("error:", conditionMessage(error))
    })
    # a failing browser is reported
    lenient <- results$place[i] == "browser" &&
      results$way[i] %in%
        c("error", "own", "abort", "warn2", "memory", "stack", "nested", "time", "session")
    as_ever <- tryCatch(identical(train(), expected), error = conditionMessage)
    results$wrong[i] <- paste(
      c(
        if (!isTRUE(as_expected) && !lenient) paste("left otherwise:", as_expected),
        if (!isTRUE(as_ever)) paste("training is another:", as_ever)
      ),
      collapse = ", "
    )
  }
  results[nzchar(results$wrong), ]
}

test_that("any jump out of R code called by Python leaves the session intact", {
  expect_identical(
    nrow(print(suppressMessages(in_new_session(leave_by_all_ways_from_all_places)))),
    0L
  )
})

test_that("setTimeLimit() ends fit(), evaluate() and predict() with the history in the error", {
  model <- regressor()
  limited <- function(code) {
    setTimeLimit(elapsed = 1)
    on.exit(setTimeLimit())
    began <- Sys.time()
    error <- suppressMessages(tryCatch(code, error = identity))
    expect_s3_class(error, c("kerasfit_error_time_limit", "kerasfit_error"))
    expect_match(conditionMessage(error), "elapsed time limit")
    expect_lt(as.numeric(Sys.time() - began, units = "secs"), 30)
    error
  }
  fit(model, iris_x, iris_x[, 1], verbose = 0)
  ended <- 0
  at_end <- list(on_train_end = function() ended <<- ended + 1)
  error <- limited(fit(model, iris_x, iris_x[, 1], epochs = 1e7, verbose = 0, callbacks = at_end))
  expect_s3_class(error$history, "keras_training_history")
  expect_gt(length(error$history$metrics$loss), 0)
  expect_match(conditionMessage(error), "weights of its last step")
  expect_identical(ended, 1)
  batch <- function() list(iris_x, iris_x[, 1])
  expect_s3_class(
    limited(fit(model, batch, steps_per_epoch = 5, epochs = 1e7, verbose = 0))$history,
    "keras_training_history"
  )
  limited(evaluate(model, batch, steps = 1e7, verbose = 0))
  limited(predict(model, function() list(iris_x), steps = 1e7, verbose = 0))
  expect_false(fit(model, iris_x, iris_x[, 1], verbose = 0)$params$interrupted)
})

test_that("the error of an earlier time limit does not end fit()", {
  limited <- tryCatch(
    {
      setTimeLimit(elapsed = 0.01)
      repeat {
        Sys.sleep(0.01)
      }
    },
    error = conditionMessage,
    finally = setTimeLimit()
  )
  expect_match(limited, "elapsed time limit")
  expect_s3_class(fit(regressor(), iris_x, iris_x[, 1], verbose = 0), "keras_training_history")
})

test_that("endless recursion through Python and fit() on a full stack are errors", {
  model <- regressor()
  calls <- 0
  endless <- list(on_predict_end = function() {
    calls <<- calls + 1
    predict(model, iris_x, callbacks = endless, verbose = 0)
  })
  error <- tryCatch(predict(model, iris_x, callbacks = endless, verbose = 0), error = identity)
  expect_s3_class(error, "kerasfit_error_state")
  expect_match(conditionMessage(error), "too deeply")
  expect_gt(calls, 2)
  withr::with_options(list(expressions = sys.nframe() + 300), {
    expect_error(
      fit(model, iris_x, iris_x[, 1], verbose = 0),
      "too deeply",
      class = "kerasfit_error_state"
    )
  })
  expect_s3_class(fit(model, iris_x, iris_x[, 1], verbose = 0), "keras_training_history")
})

test_that("quit() in a callback ends R with its status, and the debugger's Q ends fit()", {
  script <- withr::local_tempfile(fileext = ".R")
  run <- function(...) {
    writeLines(
      c(
        "library(kerasfit)",
        "options(keras.verbose = 0, error = NULL)",
        "x <- matrix(1:30 / 30, 10)",
        "model <- compile(keras$Sequential(list(keras$layers$Dense(1L))), 'sgd', 'mse')",
        "go_on <- function() fit(model, x, x[, 1])",
        ...
      ),
      script
    )
    processx::run(
      file.path(R.home("bin"), "R"),
      c("--no-save", "--no-echo", "--interactive"),
      stdin = script,
      env = env_of_child(),
      error_on_status = FALSE,
      timeout = 100
    )
  }
  skip_if_not_installed("processx")
  answer <- run(
    "result <- fit(model, x, x[, 1], callbacks = list(on_epoch_end = function() browser()))",
    "Q",
    "cat('usable', class(go_on()), exists('result'), '\\n')",
    "fit(model, x, x[, 1], callbacks = list(on_epoch_end = function() quit(status = 3)))"
  )
  expect_match(answer$stdout, "usable kerasfit_history keras_training_history FALSE")
  expect_match(answer$stderr, "tried to jump out of fit")
  expect_identical(answer$status, 3L)
})
