#' Plot a training history
#'
#' Draws one panel for each metric, with training and validation in the same panel. The epoch with
#' the lowest validation loss is marked.
#'
#' Values far away from the others, such as the loss of the first epoch, do not flatten the curve.
#' They are drawn at the edge of the panel, as a triangle with the value next to it.
#'
#' @param x,object A [keras_training_history], or several combined by [training_histories()], which
#'   are compared in one plot. To plot several calls of `fit()` as one run, join their histories
#'   with [c()][c.keras_training_history].
#' @param y Must be missing.
#' @param ... For `autoplot()`, arguments of `plot()`. For base graphics, arguments of
#'   [plot.default()].
#' @param metrics Names of the metrics to plot; `NULL` for all.
#' @param method `"ggplot2"`, `"base"`, or `"interactive"` for an htmlwidget that shows values under
#'   the pointer. `"auto"` uses ggplot2 if it is installed, and base graphics otherwise. In a
#'   document that is not HTML, such as PDF, `"interactive"` is the same as `"auto"`.
#' @param smooth Whether to add a smoothed line to each curve, a loess fit if there are enough
#'   epochs.
#' @param theme_bw Whether to use [ggplot2::theme_bw()]. Otherwise the theme set with
#'   [ggplot2::theme_set()] is used, or a light theme if none was set.
#' @param log Which axes are logarithmic: `""`, `"x"`, `"y"` or `"xy"`. Values without a logarithm
#'   are omitted.
#' @return A ggplot object; with `method = "interactive"`, an htmlwidget; with base graphics, the
#'   plotted data, invisibly.
#' @examples
#' history <- structure(
#'   list(
#'     params = list(epochs = 4, initial_epoch = 1, epoch = 1:4),
#'     metrics = list(loss = c(0.9, 0.6, 0.5, 0.45), val_loss = c(0.95, 0.7, 0.65, 0.66))
#'   ),
#'   class = c("kerasfit_history", "keras_training_history")
#' )
#' plot(history, method = "base")
#' plot(training_histories(all = history, first = history[1:3]), method = "base", log = "y")
#' @export
plot.kerasfit_history <- function(
  x,
  y,
  metrics = NULL,
  method = c("auto", "ggplot2", "base", "interactive"),
  smooth = getOption("keras.plot.history.smooth", FALSE),
  theme_bw = getOption("keras.plot.history.theme_bw", FALSE),
  log = "",
  ...
) {
  call <- user_call("plot")
  check_no_y(y, call)
  plot_histories(as_histories(list(x)), metrics, method, smooth, theme_bw, log, call, ...)
}

#' @rdname plot.kerasfit_history
#' @export
plot.keras_training_histories <- function(
  x,
  y,
  metrics = NULL,
  method = c("auto", "ggplot2", "base", "interactive"),
  smooth = getOption("keras.plot.history.smooth", FALSE),
  theme_bw = getOption("keras.plot.history.theme_bw", FALSE),
  log = "",
  ...
) {
  call <- user_call("plot")
  check_no_y(y, call)
  plot_histories(x, metrics, method, smooth, theme_bw, log, call, ...)
}

check_no_y <- function(y, call) {
  if (!missing(y)) {
    abort_argument(
      "y",
      "`y` must be missing: plot() takes one object, followed by named arguments.",
      call,
      "To compare histories, use `plot(training_histories(small = first, large = second))`."
    )
  }
}

#' @rdname plot.kerasfit_history
#' @exportS3Method ggplot2::autoplot
autoplot.keras_training_history <- function(object, ...) plot(object, ..., method = "ggplot2")

#' @rdname plot.kerasfit_history
#' @exportS3Method ggplot2::autoplot
autoplot.keras_training_histories <- autoplot.keras_training_history

plot_histories <- function(histories, metrics, method, smooth, theme_bw, log, call, ...) {
  method <- check_choice(method[[1]], c("auto", "ggplot2", "base", "interactive"), "method", call)
  log <- check_choice(log, c("", "x", "y", "xy"), "log", call)
  data <- plot_data(histories, metrics, log, call)
  if (method == "interactive" && is_html()) {
    return(metrics_widget(histories, metrics, log = grepl("y", log)))
  }
  if (method %in% c("auto", "interactive")) {
    method <- if (rlang::is_installed("ggplot2")) "ggplot2" else "base"
  }
  if (method == "ggplot2") {
    rlang::check_installed(
      "ggplot2",
      "for plots of training histories with `method = \"ggplot2\"`."
    )
    plot_ggplot(data, smooth, theme_bw, log)
  } else {
    plot_base(data, smooth, log, ...)
    invisible(data)
  }
}

#' Whether a widget can be shown, which is everywhere except in documents that are not HTML
#' @noRd
is_html <- function() {
  !isTRUE(getOption("knitr.in.progress")) ||
    knitr::is_html_output(excludes = c("markdown", "gfm", "epub"))
}

#' The data to plot
#' @return A data frame with the columns of `as.data.frame()` for a history, and `run` (a factor);
#'   `shown`, the value limited to the panel; `best`, whether the epoch has the lowest validation
#'   loss of its run.
#' @noRd
plot_data <- function(histories, metrics, log, call) {
  data <- as.data.frame(histories)
  data$best <- as.logical(unlist(Map(
    function(history, rows) {
      rows$epoch %in% best_epoch(history, "val_loss")
    },
    unclass(histories),
    split(data, data$run)
  )))
  known <- levels(data$metric)
  unknown <- setdiff(metrics, known)
  if (length(unknown)) {
    abort_argument(
      "metrics",
      sprintf(
        "`metrics` contains %s, but the history has only %s.",
        paste0('"', unknown, '"', collapse = ", "),
        paste0('"', known, '"', collapse = ", ")
      ),
      call
    )
  }
  data <- data[is.finite(data$value) & data$metric %in% (metrics %||% known), ]
  if (grepl("y", log)) {
    data <- data[data$value > 0, ]
  }
  if (!nrow(data)) {
    positive <- if (grepl("y", log)) "positive " else ""
    abort_argument(
      "x",
      sprintf("There is nothing to plot: the history has no finite %svalues.", positive),
      call
    )
  }
  data <- droplevels(data)
  data$shown <- if (grepl("y", log)) {
    data$value
  } else {
    stats::ave(data$value, data$metric, FUN = clamp_outliers)
  }
  rownames(data) <- NULL
  data
}

#' Move values that would flatten the curve to the edge of the panel
#'
#' An outlier is one of the highest or lowest tenth of the values that is more than 20 times as far
#' from the rest as the range of the rest.
#' @noRd
clamp_outliers <- function(values) {
  tenth <- max(1, length(values) %/% 10)
  rest <- sort(values)[c(tenth + 1, length(values) - tenth)]
  width <- diff(rest)
  near <- values >= rest[1] - 20 * width & values <= rest[2] + 20 * width
  if (length(values) < 5 || width == 0 || all(near)) {
    return(values)
  }
  edges <- range(values[near])
  edges <- edges + c(-1, 1) * diff(edges) / 10
  pmin(pmax(values, edges[1]), edges[2])
}

#' Replace values by a loess fit, for each curve with at least ten epochs
#' @noRd
smoothed <- function(data) {
  curves <- split(data, list(data$metric, data$data, data$run), drop = TRUE)
  fits <- lapply(curves, function(curve) {
    if (nrow(curve) >= 10) {
      curve$shown <- stats::fitted(stats::loess(shown ~ epoch, curve))
    }
    curve
  })
  do.call(rbind, unname(fits))
}

best_text <- function(data) {
  best <- data[data$best & data$metric == "loss" & data$data == "validation", ]
  if (nrow(best) == 1) {
    sprintf("lowest validation loss: %s, epoch %d", format(best$value, digits = 4), best$epoch)
  }
}

# The palette of Okabe and Ito, which colour-blind readers can distinguish. Its blue and vermilion
# are dark and light when printed in grey.
okabe_ito <- c(
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
  "#F0E442"
)

data_colours <- c(training = okabe_ito[[1]], validation = okabe_ito[[2]])

data_linetypes <- c(training = "solid", validation = "22")

data_shapes <- c(training = 16, validation = 17)

run_colours <- function(runs) {
  many <- length(runs) > length(okabe_ito)
  colours <- if (many) grDevices::hcl.colors(length(runs), "Dark 3") else okabe_ito[seq_along(runs)]
  stats::setNames(colours, runs)
}

panel_columns <- function(panels) {
  if (panels <= 3) {
    1
  } else if (panels <= 8) {
    2
  } else {
    ceiling(sqrt(panels))
  }
}

whole_breaks <- function(limits) {
  breaks <- unique(round(pretty(limits)))
  breaks <- breaks[breaks >= max(1, limits[1]) & breaks <= limits[2]]
  if (length(breaks)) breaks else round(limits[1])
}
