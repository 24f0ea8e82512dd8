skip_on_cran()
skip_if_not_installed("callr")

test_that("using Keras in a fork of its process is an error that names alternatives", {
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
    answers <- list()
    deadline <- Sys.time() + 60
    while (length(answers) < length(jobs) && Sys.time() < deadline) {
      more <- parallel::mccollect(jobs, wait = FALSE, timeout = 1)
      answers <- c(answers, Filter(Negate(is.null), more))
    }
    lapply(jobs, function(job) tools::pskill(job$pid, tools::SIGKILL))
    unname(answers)
  })
  expect_length(answers, 6)
  for (answer in answers) {
    expect_identical(answer[[1]], "kerasfit_error_state")
    expect_match(answer[[2]], "copy of the process.*makePSOCKcluster.*callr.*multisession")
  }
})

test_that("a fork of a process without Keras can load and use it", {
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
