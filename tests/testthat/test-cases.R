skip_on_cran()
skip_if_not(file.exists(test_path("../cases/cases.json")), "tests/cases is not there")

test_that("each case trains the same with R values and with their Python equivalents", {
  cases <- reticulate::import_from_path("cases", normalizePath(test_path("../cases")))
  world <- new.env(parent = globalenv())
  sys.source(test_path("../cases/world.R"), world)
  for (case in cases$CASES) {
    withr::local_options(kerasfit.plan = case$plan %||% "auto")
    model <- cases$build(case$model)
    do.call(fit, c(list(model), eval(str2lang(case$r), world), verbose = 0))
    expect_identical(model$get_weights(), cases$train(case), label = case$name)
  }
})
