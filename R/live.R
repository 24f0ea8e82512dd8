# Pages that show the metrics of histories, or of training in progress.

#' Show the metrics of histories as an htmlwidget
#'
#' It is drawn by plotly, which is available as an R package, is maintained, shows the values of all
#' curves under the pointer, and handles missing values.
#' @param live The state of training in progress, see inst/htmlwidgets/kerasfitMetrics.js.
#' @noRd
metrics_widget <- function(histories = list(), metrics = NULL, log = FALSE, live = NULL, ...) {
  rlang::check_installed(c("htmlwidgets", "plotly"), "for interactive plots of training.")
  runs <- unname(Map(
    function(history, name) {
      list(
        name = name,
        epoch = as.list(history_epochs(history)),
        best = c(best_epoch(history, "val_loss"), NA)[1],
        metrics = lapply(select_metrics(history$metrics, metrics), function(values) {
          as.list(ifelse(is.finite(values), values, NA))
        })
      )
    },
    histories,
    run_names(histories)
  ))
  value <- structure(list(runs = runs, log = log, live = live), TOJSON_FUNC = json_in_html)
  htmlwidgets::createWidget(
    "kerasfitMetrics",
    value,
    package = "kerasfit",
    dependencies = list(plotly_js()),
    sizingPolicy = htmlwidgets::sizingPolicy(
      defaultWidth = "100%",
      viewer.padding = 0,
      browser.padding = 0,
      browser.fill = TRUE,
      viewer.fill = TRUE,
      knitr.defaultHeight = 480
    ),
    ...
  )
}

#' Convert a value to JSON that is safe inside an HTML script element
#'
#' htmlwidgets escapes "</", but not "<!--", after which browsers do not find the end of the
#' element.
#' @noRd
json_in_html <- function(x, ...) {
  json <- jsonlite::toJSON(
    x,
    auto_unbox = TRUE,
    null = "null",
    na = "null",
    digits = 16,
    use_signif = TRUE,
    dataframe = "columns",
    force = TRUE,
    keep_vec_names = TRUE
  )
  gsub("<", "\\u003c", json, fixed = TRUE)
}

select_metrics <- function(values, metrics) {
  if (is.null(metrics)) values else values[sub("^val_", "", names(values)) %in% metrics]
}

#' plotly's JavaScript as an htmltools dependency, without loading the package, which takes a second
#' @noRd
plotly_js <- function() {
  folder <- system.file("htmlwidgets", "lib", "plotlyjs", package = "plotly")
  htmltools::htmlDependency(
    "plotly-main",
    utils::packageVersion("plotly"),
    folder,
    script = list.files(folder, "^plotly.*min\\.js$")[1],
    all_files = FALSE
  )
}

#' Convert the argument `view_metrics` for the core; NULL if nothing is shown
#' @noRd
view_to_core <- function(view_metrics, model, epochs, verbose, call) {
  if (rlang::is_string(view_metrics)) {
    view_metrics <- path_to_core(view_metrics, "view_metrics", call)
  }
  check_view_metrics(view_metrics, call)
  if (
    isFALSE(view_metrics) ||
      (identical(view_metrics, "auto") && !is_worth_viewing(model, epochs, verbose))
  ) {
    return(NULL)
  }
  if (is.character(view_metrics) && view_metrics != "auto") {
    return(call_core(call, bridge$View$in_folder, view_metrics))
  }
  in_viewer <- is_rstudio()
  folder <- if (in_viewer) live_page() else shared_live_page()
  open <- function(url) open_page(file.path(folder, "index.html"), url, in_viewer)
  bridge$View(folder, writing = in_viewer, opened = reticulate::r_to_py(open, convert = TRUE))
}

check_view_metrics <- function(view_metrics, call) {
  is_folder <- rlang::is_string(view_metrics) &&
    (view_metrics == "auto" || dir.exists(view_metrics))
  if (!is_folder && !isTRUE(view_metrics) && !isFALSE(view_metrics)) {
    abort_argument(
      "view_metrics",
      sprintf(
        '`view_metrics` must be "auto", TRUE, FALSE or an existing folder, not %s.',
        describe(view_metrics)
      ),
      call
    )
  }
}

#' Whether `view_metrics = "auto"` shows training: in RStudio, with metrics, several epochs and
#' output
#' @noRd
is_worth_viewing <- function(model, epochs, verbose) {
  is_rstudio() &&
    rlang::is_installed(c("htmlwidgets", "plotly")) &&
    isTRUE(epochs > 1) &&
    !isTRUE(verbose == 0) &&
    reticulate::py_to_r(bridge$has_metrics(model))
}

is_rstudio <- function() identical(.Platform$GUI, "RStudio") && is.function(getOption("viewer"))

#' Show a page in the viewer or the browser, or print its address if neither works
#' @noRd
open_page <- function(page, url, in_viewer) {
  shown <- tryCatch(
    {
      run_user_code(
        if (in_viewer) {
          getOption("viewer")(page)
        } else if (has_browser()) {
          utils::browseURL(url)
        }
      )
      in_viewer || has_browser()
    },
    error = function(error) FALSE
  )
  if (!shown) {
    rlang::inform(c(
      "No browser is available to show training.",
      i = paste("While this session is running, the page is at", url)
    ))
  }
}

has_browser <- function() {
  browser <- getOption("browser")
  if (is.function(browser)) {
    return(TRUE)
  }
  if (.Platform$OS.type == "windows") {
    return(TRUE)
  }
  has_screen <- Sys.info()[["sysname"]] == "Darwin" ||
    any(nzchar(Sys.getenv(c("DISPLAY", "WAYLAND_DISPLAY"))))
  has_screen &&
    is.character(browser) &&
    nzchar(browser) &&
    nzchar(Sys.which(strsplit(browser, " ")[[1]][1]))
}

#' Create a folder with a page that shows training in progress
#' @noRd
live_page <- function() {
  folder <- tempfile("kerasfit-view-")
  dir.create(folder, mode = "0700")
  head <- htmltools::tags$head(
    htmltools::tags$title("Training"),
    htmltools::tags$meta(name = "viewport", content = "width=device-width"),
    htmltools::tags$meta(name = "referrer", content = "no-referrer"),
    htmltools::tags$link(rel = "icon", href = "data:,")
  )
  own_page <- htmltools::tags$script("document.body.className = 'kerasfit-page'")
  widget <- metrics_widget(live = list(poll = "state.json"), height = "100vh")
  htmltools::save_html(
    htmltools::tagList(head, own_page, widget),
    file.path(folder, "index.html"),
    libdir = "lib"
  )
  folder
}

#' The folder with the page for all runs of this session that are shown in a browser
#' @noRd
shared_live_page <- function() {
  if (is.null(pages$folder) || !file.exists(file.path(pages$folder, "index.html"))) {
    pages$folder <- live_page()
  }
  pages$folder
}

pages <- new.env(parent = emptyenv())

#' Show training in a Shiny app
#'
#' Shows the metrics of training in a [Shiny][shiny::shiny] app: those of a
#' [keras_training_history], or of a [fit()][fit.keras.src.trainers.trainer.Trainer] that is running
#' in another process, with its progress and a stop button.
#'
#' An app cannot respond while it trains in its own process. Start training with [fit_background()]
#' and give its value to `render_training()`; or let `fit(view_metrics = folder)` in another process
#' write its progress to a folder, and give the path of that folder. See the app in
#' `system.file("examples", "shiny", package = "kerasfit")`.
#' @param outputId The name of the output.
#' @param width,height CSS sizes.
#' @param expr An expression that returns a history, a list of histories, a value of
#'   [fit_background()], the path of a folder that `fit()` writes to, or NULL for no output.
#' @param env,quoted The environment in which to evaluate `expr`, and whether it is quoted, as for
#'   other render functions.
#' @return `training_output()`: an element of a page. `render_training()`: a function for Shiny's
#'   `output`.
#' @examplesIf rlang::is_installed(c("shiny", "htmlwidgets", "plotly"))
#' ui <- shiny::fluidPage(training_output("metrics"))
#' server <- function(input, output) {
#'   metrics <- list(loss = c(0.9, 0.6, 0.5), val_loss = c(0.95, 0.7, 0.65))
#'   history <- structure(
#'     list(params = list(epoch = 1:3), metrics = metrics),
#'     class = "keras_training_history"
#'   )
#'   output$metrics <- render_training(history)
#' }
#' if (interactive()) shiny::shinyApp(ui, server)
#' @export
training_output <- function(outputId, width = "100%", height = "500px") {
  rlang::check_installed(c("shiny", "htmlwidgets", "plotly"), "to show training in a Shiny app.")
  htmlwidgets::shinyWidgetOutput(outputId, "kerasfitMetrics", width, height, package = "kerasfit")
}

#' @rdname training_output
#' @export
render_training <- function(expr, env = parent.frame(), quoted = FALSE) {
  rlang::check_installed(c("shiny", "htmlwidgets", "plotly"), "to show training in a Shiny app.")
  value <- shiny::exprToFunction(expr, env, quoted)
  folder <- NULL
  listening <- FALSE
  widget <- function() {
    shown <- value()
    if (is.null(shown)) {
      return(NULL)
    }
    if (inherits(shown, "BackgroundFit")) {
      shown <- shown$folder
    }
    if (!is.character(shown)) {
      return(metrics_widget(if (inherits(shown, "keras_training_history")) list(shown) else shown))
    }
    folder <<- shown
    if (!listening) {
      listen_to_stop(function() request_stop(folder))
    }
    listening <<- TRUE
    state <- read_state(folder)
    if (state$status %in% c("starting", "training")) {
      shiny::invalidateLater(500)
    }
    metrics_widget(live = list(state = state))
  }
  htmlwidgets::shinyRenderWidget(quote(widget()), training_output, environment(), quoted = TRUE)
}

#' Call a function when the stop button of the current output is pressed
#' @noRd
listen_to_stop <- function(stop) {
  pressed <- paste0(shiny::getCurrentOutputInfo()$name, "_stop")
  session <- shiny::getDefaultReactiveDomain()$rootScope()
  shiny::observeEvent(session$input[[pressed]], stop(), domain = session)
}

#' The folder that `fit()` creates in the given one, see inst/python/kerasfit/runtime/own_folder.py
#' @noRd
view_folder <- function(folder) file.path(folder, "kerasfit-view")

#' Stop training in another process by a file in its folder
#' @noRd
request_stop <- function(folder) {
  format <- "kerasfit: training in progress, format 1"
  marker <- file.path(view_folder(folder), "FORMAT")
  stop <- file.path(view_folder(folder), "stop")
  is_view <- isTRUE(file.size(marker) == nchar(format) + 1) && identical(readLines(marker), format)
  if (is_view && !file.exists(stop) && Sys.readlink(stop) %in% c("", NA)) file.create(stop)
}

#' Read the last state of training that `fit()` wrote to a folder
#' @noRd
read_state <- function(folder) {
  file <- file.path(view_folder(folder), "state.json")
  if (file.exists(file)) {
    return(read_replaced(file))
  }
  list(
    status = "starting",
    message = "",
    name = "",
    epoch = 0,
    epochs = NULL,
    initial_epoch = 1,
    step = 0,
    steps = NULL,
    elapsed = 0,
    left = NULL,
    from = 0,
    rows = list(epoch = list(), metrics = list())
  )
}

#' Read a JSON file that another process keeps replacing; on Windows it cannot be opened at that
#' moment
#' @noRd
read_replaced <- function(file, read = jsonlite::read_json) {
  for (i in 1:20) {
    state <- tryCatch(suppressWarnings(read(file)), error = function(error) NULL)
    if (!is.null(state)) {
      return(state)
    }
    Sys.sleep(0.01)
  }
  read(file)
}
