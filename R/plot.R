#' Plot a training history
#'
#' A panel for each metric, with training and validation data in one panel.
#'
#' @param x A [keras_training_history].
#' @param y Not used.
#' @param ... Passed on to [plot.default()] by the base graphics method.
#' @param metrics The names of the metrics to plot; all of them if `NULL`.
#' @param method `"ggplot2"` or `"base"`; `"auto"` takes ggplot2 if it is installed.
#' @param smooth Whether to add a smoothed curve to each line, a loess fit where there are enough epochs for one.
#' @param theme_bw Whether to use [ggplot2::theme_bw()], which prints well in black and white.
#' @return A ggplot object; with base graphics, the data that were plotted, invisibly.
#' @examples
#' history <- structure(
#'   list(
#'     params = list(epochs = 4, initial_epoch = 1, epoch = 1:4),
#'     metrics = list(loss = c(0.9, 0.6, 0.5, 0.45), val_loss = c(0.95, 0.7, 0.65, 0.66))
#'   ),
#'   class = "keras_training_history"
#' )
#' plot(history, method = "base")
#' @export
plot.keras_training_history <- function(x, y, metrics = NULL, method = c("auto", "ggplot2", "base"),
                                        smooth = getOption("keras.plot.history.smooth", FALSE),
                                        theme_bw = getOption("keras.plot.history.theme_bw", FALSE), ...) {
  call <- user_call("plot")
  method <- check_choice(method[[1]], c("auto", "ggplot2", "base"), "method", call)
  data <- history_data(x, metrics, call)
  if (method == "auto") method <- if (rlang::is_installed("ggplot2")) "ggplot2" else "base"
  if (method == "ggplot2") {
    rlang::check_installed("ggplot2", "to plot a training history with it.")
    plot_ggplot(data, smooth, theme_bw)
  } else {
    plot_base(data, smooth, ...)
    invisible(data)
  }
}

history_data <- function(history, metrics, call) {
  data <- as.data.frame(history)
  known <- levels(data$metric)
  unknown <- setdiff(metrics, known)
  if (length(unknown)) {
    abort_argument("metrics", sprintf(
      "`metrics` names %s, which the history does not have; it has %s.",
      paste0('"', unknown, '"', collapse = ", "), paste0('"', known, '"', collapse = ", ")
    ), call)
  }
  data <- data[is.finite(data$value) & data$metric %in% (metrics %||% known), ]
  if (!nrow(data)) abort_argument("x", "There is nothing to plot: the history has no finite values.", call)
  droplevels(data)
}

# Okabe and Ito's blue and vermilion: told apart by colour-blind readers, and dark and light in grey print
history_colours <- c(training = "#0072B2", validation = "#D55E00")
history_linetypes <- c(training = "solid", validation = "22")
history_shapes <- c(training = 16, validation = 17)

plot_ggplot <- function(data, smooth, theme_bw) {
  .data <- rlang::.data
  epochs <- length(unique(data$epoch))
  plot <- ggplot2::ggplot(data, ggplot2::aes(
    .data[["epoch"]], .data[["value"]],
    colour = .data[["data"]], linetype = .data[["data"]], shape = .data[["data"]]
  )) +
    (if (epochs > 1) ggplot2::geom_line(alpha = if (smooth) 0.35 else 1)) +
    (if (epochs > 1 && smooth) ggplot2::geom_line(data = smoothed(data), linewidth = 0.9)) +
    (if (epochs <= 50) ggplot2::geom_point(size = 1.6)) +
    ggplot2::facet_wrap("metric", ncol = 1, scales = "free_y", strip.position = "left") +
    ggplot2::scale_x_continuous(breaks = whole_breaks) +
    ggplot2::scale_colour_manual(values = history_colours) +
    ggplot2::scale_linetype_manual(values = history_linetypes) +
    ggplot2::scale_shape_manual(values = history_shapes) +
    ggplot2::labs(x = "epoch", y = NULL, colour = NULL, linetype = NULL, shape = NULL) +
    (if (theme_bw) ggplot2::theme_bw()) +
    ggplot2::theme(strip.placement = "outside", legend.position = "top")
  if (nlevels(data$data) == 1) plot <- plot + ggplot2::theme(legend.position = "none")
  if (theme_bw || is_default_theme()) {
    plot <- plot + ggplot2::theme(strip.background = ggplot2::element_blank())
  }
  plot
}

is_default_theme <- function() identical(ggplot2::theme_get(), ggplot2::theme_grey())

whole_breaks <- function(limits) {
  breaks <- unique(round(pretty(limits)))
  breaks <- breaks[breaks >= max(1, limits[1]) & breaks <= limits[2]]
  if (length(breaks)) breaks else round(limits[1])
}

#' The data with values on a loess curve, for each curve that has at least ten epochs
#' @noRd
smoothed <- function(data) {
  curves <- split(data, list(data$metric, data$data), drop = TRUE)
  fits <- lapply(curves, function(curve) {
    if (nrow(curve) >= 10) curve$value <- stats::fitted(stats::loess(value ~ epoch, curve))
    curve
  })
  do.call(rbind, unname(fits))
}

plot_base <- function(data, smooth, ...) {
  metrics <- levels(data$metric)
  old <- graphics::par(mfrow = c(length(metrics), 1), mar = c(3, 3.5, 1, 1), mgp = c(2, 0.6, 0), cex = 0.9)
  on.exit(graphics::par(old))
  for (metric in metrics) {
    panel <- data[data$metric == metric, ]
    plot(panel$epoch, panel$value, type = "n", xlab = "epoch", ylab = metric, xaxt = "n", las = 1, ...)
    graphics::axis(1, whole_breaks(range(panel$epoch)))
    for (set in levels(droplevels(panel)$data)) {
      curve <- panel[panel$data == set, ]
      style <- list(col = history_colours[[set]], lty = history_linetypes[[set]], pch = history_shapes[[set]])
      graphics::points(curve$epoch, curve$value, type = "o", col = style$col, lty = style$lty, pch = style$pch)
      if (smooth) graphics::lines(smoothed(curve)[c("epoch", "value")], col = style$col, lwd = 2)
    }
    if (metric == metrics[[1]] && nlevels(data$data) > 1) {
      sets <- levels(data$data)
      graphics::legend("topright", sets, bty = "n", col = history_colours[sets],
        lty = history_linetypes[sets], pch = history_shapes[sets])
    }
  }
}
