# Pages that show training. tests/python/test_page.py tests them in real browsers.

skip_on_cran()
skip_if_not_installed("callr")
for (package in c("plotly", "htmlwidgets", "htmltools", "jsonlite")) {
  skip_if_not_installed(package)
}

live_state <- function(folder) jsonlite::read_json(file.path(folder, "kerasfit-view", "state.json"))

test_that("an invalid view_metrics is an error, and FALSE shows nothing", {
  expect_error(
    fit(regressor(), iris_x, iris_x[, 1], view_metrics = "yes"),
    class = "kerasfit_error_argument"
  )
  expect_silent(fit(regressor(), iris_x, iris_x[, 1], view_metrics = FALSE, verbose = 0))
})

test_that("an interactive plot is a widget with the values of all runs", {
  history <- a_history(
    list(loss = c(3, NaN, 1), val_loss = c(4, 3, NA), mae = 1:3 / 2),
    epoch = 6:8
  )
  widget <- plot(
    training_histories(a = history, b = history[7:8]),
    method = "interactive",
    metrics = "loss",
    log = "y"
  )
  expect_s3_class(widget, "htmlwidget")
  expect_identical(widget$x$log, TRUE)
  expect_identical(lapply(widget$x$runs, `[[`, "name"), list("a", "b"))
  expect_identical(widget$x$runs[[1]]$best, 7L)
  expect_identical(
    widget$x$runs[[1]]$metrics,
    list(loss = list(3, NA_real_, 1), val_loss = list(4, 3, NA_real_))
  )
  unnamed <- plot(training_histories(history, history), method = "interactive")
  expect_identical(lapply(unnamed$x$runs, `[[`, "name"), list("1", "2"))
  one <- plot(a_history(list(loss = 1)), method = "interactive")$x$runs[[1]]
  expect_identical(one[c("epoch", "best")], list(epoch = list(1L), best = NA_integer_))
})

test_that("an interactive plot is a widget in HTML documents and a picture in others", {
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available())
  dir <- withr::local_tempdir()
  writeLines(
    c(
      "```{r}",
      "library(kerasfit)",
      "```",
      "```{r, cache = TRUE}",
      "model <- keras$Sequential(list(keras$layers$Dense(1L)))",
      "compile(model, 'sgd', 'mse')",
      "history <- fit(model, matrix(1:20 / 20), 1:20 / 20, epochs = 3, validation_split = 0.2)",
      "cat('x', file = 'trained', append = TRUE)",
      "```",
      "```{r}",
      "history",
      "plot(history, method = 'interactive')",
      "```"
    ),
    file.path(dir, "document.Rmd")
  )
  rendered <- function(format) {
    file <- in_new_session(
      function(dir, format) {
        setwd(dir)
        rmarkdown::render("document.Rmd", format, quiet = TRUE)
      },
      args = list(dir, format)
    )
    readLines(file, warn = FALSE)
  }
  html <- rendered(rmarkdown::html_document(self_contained = FALSE))
  expect_length(grep("kerasfitMetrics html-widget", html), 1)
  expect_length(grep("^(<pre><code>)?## Epoch [123]/3 - ", html), 3)
  expect_false(any(grepl("<img", html)))
  skip_unless_all()
  again <- rendered(rmarkdown::html_document(self_contained = FALSE))
  # the second document used the cache
  expect_identical(readLines(file.path(dir, "trained"), warn = FALSE), "x")
  expect_length(grep("Training history: epochs 1 to 3", again), 1)
  markdown <- rendered(rmarkdown::md_document())
  expect_length(grep("document_files/.*png", markdown), 1)
  expect_false(any(grepl("kerasfitMetrics", markdown)))
})

test_that("training writes its state to the folder in view_metrics", {
  folder <- withr::local_tempdir()
  fit(regressor(), iris_x, iris_x[, 1], view_metrics = folder, verbose = 0)
  request_stop(folder) # a request for the previous run
  expect_true(file.exists(file.path(folder, "kerasfit-view", "stop")))
  history <- fit(regressor(), iris_x, iris_x[, 1], epochs = 3, view_metrics = folder, verbose = 0)
  state <- live_state(folder)
  expect_identical(state$status, "ended")
  expect_equal(unlist(state$rows$metrics$loss), history$metrics$loss)
  expect_identical(read_state(withr::local_tempdir())$status, "starting")
  expect_error(
    fit(regressor(), iris_x, iris_x[-1, 1], view_metrics = folder),
    class = "kerasfit_error"
  )
  expect_identical(live_state(folder)$status, "failed")
})

test_that("view_metrics does not change other files in the folder", {
  folder <- withr::local_tempdir()
  mine <- file.path(folder, c("state.json", "state.json.new", "stop", "index.html"))
  for (file in mine) {
    writeLines("mine", file)
  }
  before <- file.info(mine)[c("size", "mtime", "mode")]
  fit(regressor(), iris_x, iris_x[, 1], epochs = 2, view_metrics = folder, verbose = 0)
  expect_identical(file.info(mine)[c("size", "mtime", "mode")], before)
  expect_setequal(
    list.files(folder, all.files = TRUE, no.. = TRUE),
    c(basename(mine), "kerasfit-view")
  )
  skip_on_os("windows")
  expect_identical(format(file.mode(file.path(folder, "kerasfit-view"))), "700")
  expect_identical(format(file.mode(file.path(folder, "kerasfit-view", "state.json"))), "600")
})

test_that("the stop button writes only to the folder of a view, and follows no links", {
  folder <- withr::local_tempdir()
  request_stop(folder)
  dir.create(file.path(folder, "kerasfit-view"))
  request_stop(folder)
  expect_length(list.files(folder, recursive = TRUE), 0)
  skip_on_os("windows")
  other <- withr::local_tempdir()
  mine <- file.path(other, "mine")
  writeLines("mine", mine)
  fit(regressor(), iris_x, iris_x[, 1], view_metrics = other, verbose = 0)
  file.symlink(mine, file.path(other, "kerasfit-view", "stop"))
  request_stop(other)
  expect_identical(readLines(mine), "mine")
})

test_that("a folder that others can write to, or with another file named like ours, is an error", {
  skip_on_os("windows")
  folder <- withr::local_tempdir()
  writeLines("mine", file.path(folder, "kerasfit-view"))
  train <- function() fit(regressor(), iris_x, iris_x[, 1], view_metrics = folder, verbose = 0)
  error <- expect_error(train(), "kerasfit-view is not a folder", class = "kerasfit_error_argument")
  expect_identical(error$argument, "view_metrics")
  expect_identical(readLines(file.path(folder, "kerasfit-view")), "mine")
  unlink(file.path(folder, "kerasfit-view"))
  Sys.chmod(folder, "0777", use_umask = FALSE)
  expect_error(train(), "other users may write", class = "kerasfit_error_argument")
  expect_length(list.files(folder), 0)
})

test_that("the page of a session is in a folder that only its user can read", {
  foreign <- file.path(tempdir(), "kerasfit-view")
  dir.create(foreign, showWarnings = FALSE)
  writeLines("mine", file.path(foreign, "index.html"))
  withr::defer(unlink(foreign, recursive = TRUE))
  folder <- shared_live_page()
  expect_false(folder == foreign)
  expect_identical(shared_live_page(), folder)
  expect_false(live_page() == folder)
  skip_on_os("windows")
  expect_identical(format(file.mode(folder)), "700")
})

test_that("names of runs and metrics cannot end or change the script that contains them", {
  hostile <- c("</script><script>x()</script>", "<!--<script>", "\"'`\\", "]]>")
  history <- a_history(stats::setNames(rep(list(3:1), 4), hostile))
  widget <- plot(
    training_histories(stats::setNames(list(history, history), hostile[1:2])),
    method = "interactive"
  )
  html <- as.character(htmltools::renderTags(widget)$html)
  json <- sub(
    "</script>.*",
    "",
    sub(".*<script type=\"application/json\"[^>]*>", "", gsub("\n", " ", html))
  )
  expect_no_match(json, "<", fixed = TRUE)
  read <- jsonlite::fromJSON(json, simplifyVector = FALSE)$x
  expect_identical(vapply(read$runs, `[[`, "", "name"), hostile[1:2])
  expect_identical(names(read$runs[[1]]$metrics), hostile)
})

test_that("names of metrics are displayed as text in a document", {
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available())
  dir <- withr::local_tempdir()
  names <- c("<img src=x onerror=y()>", "```", "</code></pre><b>")
  saveRDS(a_history(stats::setNames(rep(list(3:1), 3), names)), file.path(dir, "h"))
  code <- c(
    "library(kerasfit)",
    "history <- readRDS('h')",
    "history",
    "summary(history)",
    "plot(history)"
  )
  writeLines(c("```{r}", code, "```"), file.path(dir, "d.Rmd"))
  file <- in_new_session(
    function(dir) {
      setwd(dir)
      rmarkdown::render("d.Rmd", rmarkdown::html_document(theme = NULL), quiet = TRUE)
    },
    args = list(dir)
  )
  html <- paste(readLines(file, warn = FALSE), collapse = "\n")
  expect_match(html, "&lt;img src=x onerror=y()&gt;", fixed = TRUE)
  expect_no_match(html, "<img src=x", fixed = TRUE)
  expect_no_match(html, "</code></pre><b>", fixed = TRUE)
})

test_that("a relative folder is relative to the working directory at the start of training", {
  folder <- withr::local_tempdir()
  withr::local_dir(folder)
  dir.create("view")
  moves <- list(on_epoch_begin = function(epoch, logs) setwd(tempdir()))
  fit(
    regressor(),
    iris_x,
    iris_x[, 1],
    epochs = 2,
    view_metrics = "view",
    callbacks = moves,
    verbose = 0
  )
  expect_identical(live_state(file.path(folder, "view"))$status, "ended")
})

test_that("\"auto\" shows training only in RStudio's viewer", {
  shown <- in_new_session(function() {
    library(kerasfit)
    seen <- character()
    options(viewer = function(url, ...) seen <<- c(seen, url))
    x <- as.matrix(iris[1:4])
    model <- keras$Sequential(list(keras$layers$Dense(1L)))
    compile(model, "sgd", "mse", metrics = "mae")
    lossy <- compile(keras$Sequential(list(keras$layers$Dense(1L))), "sgd", "mse")
    train <- function(model, ...) capture.output(fit(model, x, x[, 1], ...))
    train(model, epochs = 2)
    elsewhere <- length(seen)
    utils::assignInNamespace("is_rstudio", function() TRUE, "kerasfit")
    train(model, epochs = 2, verbose = 0)
    train(model, epochs = 1)
    train(lossy, epochs = 2)
    train(model, epochs = 2, view_metrics = FALSE)
    without <- length(seen)
    train(model, epochs = 2)
    train(lossy, epochs = 1, verbose = 0, view_metrics = TRUE)
    states <- lapply(seen, function(page) {
      jsonlite::read_json(file.path(dirname(page), "state.json"))
    })
    list(
      elsewhere,
      without,
      lapply(states, function(state) c(state$status, state$epochs)),
      file.exists(seen)
    )
  })
  expect_identical(shown, list(0L, 0L, list(c("ended", "2"), c("ended", "1")), c(TRUE, TRUE)))
})

test_that("without a browser, a message shows the address of the page and training continues", {
  for (browser in list("", function(url) stop("it does not start"))) {
    withr::local_options(browser = browser)
    expect_message(
      history <- fit(
        regressor(),
        iris_x,
        iris_x[, 1],
        epochs = 2,
        view_metrics = TRUE,
        verbose = 0
      ),
      "No browser.*http://127.0.0.1:[0-9]+/"
    )
    expect_identical(history$params$epoch, 1:2)
  }
})

test_that("wrong arguments are errors before anything is shown", {
  shown <- FALSE
  withr::local_options(browser = function(url) shown <<- TRUE)
  expect_error(fit(regressor(), iris_x, 1:3, view_metrics = TRUE), class = "kerasfit_error")
  expect_false(shown)
  fit(regressor(), iris_x, iris_x[, 1], view_metrics = TRUE, verbose = 0)
  expect_true(shown)
})

test_that("render_training() shows histories and training in another process, and stops it", {
  skip_if_not_installed("shiny")
  folder <- withr::local_tempdir()
  fit(regressor(), iris_x, iris_x[, 1], epochs = 2, verbose = 0, view_metrics = folder)
  shown <- shiny::reactiveVal(NULL)
  server <- function(input, output, session) output$metrics <- render_training(shown())
  shiny::testServer(server, {
    drawn <- function(value) {
      shown(value)
      session$flushReact()
      jsonlite::fromJSON(output$metrics, simplifyVector = FALSE)$x
    }
    expect_null(drawn(NULL))
    expect_identical(
      drawn(a_history(list(loss = c(2, 1))))$runs[[1]]$metrics,
      list(loss = list(2L, 1L))
    )
    both <- training_histories(a = a_history(list(loss = 2)), b = a_history(list(loss = 1)))
    expect_identical(lapply(drawn(both)$runs, `[[`, "name"), list("a", "b"))
    live <- drawn(folder)$live$state
    expect_identical(
      live[c("status", "epoch", "epochs")],
      list(status = "ended", epoch = 2L, epochs = 2L)
    )
    session$setInputs(metrics_stop = 1)
    expect_true(file.exists(file.path(folder, "kerasfit-view", "stop")))
  })
})

test_that("reading the state of training is repeated while the file is being replaced", {
  reads <- 0
  read <- function(file) {
    reads <<- reads + 1
    if (reads < 3) stop("cannot open the connection") else list(file)
  }
  expect_identical(read_replaced("state.json", read), list("state.json"))
  expect_error(read_replaced("state.json", function(file) stop("no such thing")), "no such thing")
})

test_that("training_output() is a container for the widget", {
  skip_if_not_installed("shiny")
  html <- as.character(training_output("metrics", height = "300px"))
  expect_match(html, 'id="metrics"[^>]*kerasfitMetrics|kerasfitMetrics[^>]*id="metrics"')
  expect_match(html, "height: ?300px")
})
