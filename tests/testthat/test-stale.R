skip_on_cran()

test_that("Python objects of another session are errors that name the argument", {
  withr::local_options(kerasfit.saved_size = 0)
  revive <- function(object) unserialize(serialize(object, NULL))
  model <- classifier()
  calls <- list(
    object = quote(compile(revive(model), "sgd", "mse")),
    object = quote(summary(revive(model))),
    object = quote(fit(revive(model), iris_x, iris_y)),
    object = quote(evaluate(revive(model), iris_x, iris_y)),
    object = quote(predict(revive(model), iris_x)),
    x = quote(fit(model, revive(keras$ops$ones(list(150L, 4L))), iris_y)),
    x = quote(predict(model, list(revive(keras$ops$ones(list(150L, 4L)))))),
    callbacks = quote(fit(model, iris_x, iris_y, callbacks = revive(callback_early_stopping()))),
    callbacks = quote(fit(
      model,
      iris_x,
      iris_y,
      callbacks = list(revive(callback_early_stopping()))
    )),
    callbacks = quote(fit(model, iris_x, iris_y, callbacks = revive(Callback("Own")()))),
    optimizer = quote(compile(model, revive(keras$optimizers$Adam()), "mse")),
    loss = quote(compile(model, "sgd", revive(keras$losses$MeanSquaredError()))),
    loss = quote(compile(model, "sgd", list(revive(keras$losses$MeanSquaredError())))),
    metrics = quote(compile(
      model,
      "sgd",
      "mse",
      metrics = revive(keras$metrics$MeanAbsoluteError())
    )),
    metrics = quote(compile(
      model,
      "sgd",
      "mse",
      metrics = list("mae", revive(keras$metrics$MeanAbsoluteError()))
    )),
    weighted_metrics = quote(compile(
      model,
      "sgd",
      "mse",
      weighted_metrics = list(revive(keras$metrics$MeanAbsoluteError()))
    ))
  )
  for (number in seq_along(calls)) {
    error <- expect_error(
      eval(calls[[number]]),
      "belongs to another R session",
      class = "kerasfit_error_argument"
    )
    expect_identical(error$argument, names(calls)[[number]])
    expect_identical(error$call, calls[[number]][1])
  }
})
