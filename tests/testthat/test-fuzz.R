skip_on_cran()
skip_if_not_installed("Matrix")

#' Draw one of the values in the dots, or sometimes one of the wrong values
one_of <- function(..., wrong = list()) {
  choices <- if (length(wrong) && runif(1) < 0.12) wrong else list(...)
  choices[[sample.int(length(choices), 1)]]
}

#' Draw a value for each argument of fit(), right or wrong
random_arguments <- function() {
  codes <- as.integer(iris_y) - 1L
  counter <- 0
  ends <- function() {
    counter <<- counter + 1
    if (counter %% 4 == 0) NULL else list(iris_x[1:30, ], codes[1:30])
  }
  endless <- function() list(iris_x[1:30, ], iris_y[1:30])
  broken <- function() stop("broken")
  x <- one_of(
    iris_x,
    iris_x,
    as.data.frame(iris_x),
    iris_x > 1,
    round(iris_x),
    list(iris_x),
    ends,
    endless,
    Matrix::Matrix(round(iris_x), sparse = TRUE),
    array(iris_x, c(150, 4, 1)),
    wrong = list(
      iris[1:5],
      iris_x[, 1:3],
      replace(iris_x, 5, NA),
      list(iris_x, iris_x),
      broken,
      NULL,
      "x",
      quote(x),
      Sys.Date(),
      1i,
      iris_x[0, ],
      iris_x[1:149, ],
      iris_x[, 1],
      as.list(1:3),
      list(a = iris_x, iris_x),
      new.env()
    )
  )
  y <- if (is.function(x) && runif(1) < 0.95) {
    NULL
  } else {
    one_of(
      iris_y,
      codes,
      as.double(codes),
      codes == 1,
      data.frame(s = iris_y),
      wrong = list(
        codes + 1L,
        diag(3)[codes + 1L, ],
        as.character(iris_y),
        replace(codes, 2, NA),
        replace(iris_y, 2, NA),
        NULL,
        list(codes, codes),
        letters,
        iris_y[0],
        iris_y[1:149],
        mean
      )
    )
  }
  others <- list(
    batch_size = one_of(NULL, 32, 150, 1000L, wrong = list(0, "many", NA, 2.5)),
    epochs = one_of(1, 2L, 3, wrong = list(0, "2", NULL, c(1, 2), NA)),
    initial_epoch = one_of(1, 1, 2, wrong = list(0, 9, -1)),
    validation_split = one_of(0, 0.2, 0.5, wrong = list(1, -1, 0.999, "x")),
    validation_data = one_of(
      NULL,
      list(iris_x, iris_y),
      list(iris_x, codes),
      tuple(iris_x, codes, rep(1, 150)),
      list(iris[1:4], iris_y),
      ends,
      wrong = list(
        list(iris_x),
        iris_x,
        list(iris_x[, 1:2], iris_y),
        list(iris_x, replace(iris_y, 1, NA)),
        endless
      )
    ),
    shuffle = one_of(TRUE, FALSE, wrong = list(NA, "batch")),
    class_weight = one_of(
      NULL,
      list("0" = 1, "1" = 2, "2" = 1),
      c("0" = 1, "1" = 0, "2" = 3),
      wrong = list(c("0" = 1), list(a = 1), 1:3, list("0" = "a"), list(), c("0" = -1))
    ),
    sample_weight = one_of(
      NULL,
      rep(1, 150),
      runif(150),
      wrong = list(1, rep(NA, 150), "a", matrix(1, 150, 2))
    ),
    steps_per_epoch = one_of(NULL, 1, 3, if (!is.function(x)) -1, wrong = list(0, 1.5)),
    validation_steps = one_of(NULL, 1, 2, wrong = list(0)),
    validation_batch_size = one_of(NULL, 10, wrong = list(0)),
    validation_freq = one_of(1, 2, c(1, 2), list(2L), wrong = list(0, integer(), "a")),
    callbacks = one_of(
      NULL,
      list(),
      keras$callbacks$EarlyStopping(monitor = "loss"),
      wrong = list("a", list(1))
    ),
    verbose = one_of(0, 0L, wrong = list("loud", 3)),
    epoch = 3
  )
  weights <- c(rep(1, length(others) - 1), 0.05)
  others <- others[sample.int(length(others), sample(0:4, 1), prob = weights)]
  c(list(x, y), utils::modifyList(list(verbose = 0), others, keep.null = TRUE))
}

#' Check a history against the documentation of fit()
expect_trained <- function(history, arguments, label) {
  epochs <- arguments$epochs %||% 1
  trained <- history$params$epoch
  expect_identical(
    trained,
    seq_along(trained) - 1L + as.integer(arguments$initial_epoch %||% 1),
    label = label
  )
  if (is.null(arguments$callbacks) && !is.function(arguments[[1]])) {
    expect_identical(max(trained), as.integer(epochs), label = label)
  }
  expect_true(all(is.finite(history$metrics$loss)), label = label)
  frequency <- arguments$validation_freq %||% 1
  due <- if (length(frequency) > 1 || is.list(frequency)) {
    trained %in% unlist(frequency)
  } else {
    trained %% frequency == 0
  }
  validated <- (!is.null(arguments$validation_data) ||
    !identical(arguments$validation_split %||% 0, 0)) &
    due
  expect_identical(
    !is.na(history$metrics$val_loss %||% rep(NA_real_, length(trained))),
    validated,
    label = label
  )
}

test_that("fit() with random arguments trains as documented or raises one kerasfit_error", {
  calls <- as.integer(Sys.getenv("KERASFIT_FUZZ_CALLS", "150"))
  set.seed(20)
  model <- classifier()
  outcomes <- character()
  for (i in seq_len(calls)) {
    arguments <- random_arguments()
    before <- model$get_weights()
    outcome <- tryCatch(
      suppressWarnings(
        do.call(fit, c(list(model), arguments), quote = TRUE),
        classes = "kerasfit_warning"
      ),
      error = identity,
      warning = identity
    )
    shown <- paste(
      i,
      paste(
        names(arguments),
        vapply(arguments, function(a) deparse(a, nlines = 1)[[1]], ""),
        collapse = ", "
      )
    )
    if (inherits(outcome, "keras_training_history")) {
      expect_trained(outcome, arguments, shown)
      outcomes[i] <- "trained"
    } else {
      if (!inherits(outcome, "kerasfit_error")) {
        fail(sprintf("%s: %s", shown, conditionMessage(outcome)))
      }
      message <- conditionMessage(outcome)
      expect_false(grepl("Traceback|py_last_error|File \"", message), label = shown)
      if (inherits(outcome, "kerasfit_error_python")) {
        fail(sprintf("%s: %s", shown, message))
      }
      if (is.null(outcome$epoch)) {
        expect_identical(model$get_weights(), before, label = shown)
      }
      outcomes[i] <- class(outcome)[[1]]
    }
  }
  cat(
    "\n",
    calls,
    "random calls:",
    paste(names(table(outcomes)), table(outcomes), collapse = ", "),
    "\n"
  )
  expect_gt(mean(outcomes == "trained"), 0.25)
})
