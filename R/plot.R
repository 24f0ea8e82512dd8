#' Plot a training history
#'
#' A panel for each metric, with training and validation data in one panel. The epoch with the lowest validation loss is
#' marked.
#'
#' A value far away from the others, as the loss of the first epoch may be, does not flatten the curve: the point is at
#' the edge of the panel, as a triangle with its value beside it.
#'
#' @param x,object A [keras_training_history]; or several, as [training_histories()], which are compared in one plot under
#'   the names that they have there. What was trained in several calls of `fit()` is one history after
#'   [c()][c.keras_training_history].
#' @param y Must be missing.
#' @param ... For `autoplot()`, the arguments of `plot()`; for the base graphics method, those of [plot.default()].
#' @param metrics The names of the metrics to plot; all of them if `NULL`.
#' @param method `"ggplot2"` or `"base"`; `"auto"` takes ggplot2 if it is installed. `"interactive"` makes an htmlwidget that
#'   shows values under the pointer; in a document that is not HTML, such as PDF, it is `"auto"`.
#' @param smooth Whether to add a smoothed curve to each line, a loess fit where there are enough epochs for one.
#' @param theme_bw Whether to use [ggplot2::theme_bw()]. Otherwise a theme that you have set with
#'   [ggplot2::theme_set()] is used, or a light one.
#' @param log Which axes are logarithmic: `""`, `"x"`, `"y"` or `"xy"`. Values that have no logarithm are left out.
#' @return A ggplot object; an htmlwidget with `method = "interactive"`; with base graphics, the data that were plotted, invisibly.
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
      "`y` must be missing: plot() takes one object, and its other arguments by name.",
      call,
      "Compare histories by `plot(training_histories(small = first, large = second))`."
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
    rlang::check_installed("ggplot2", "to plot a training history with it.")
    plot_ggplot(data, smooth, theme_bw, log)
  } else {
    plot_base(data, smooth, log, ...)
    invisible(data)
  }
}

#' Whether a widget can be shown: everywhere but in documents of other formats
#' @noRd
is_html <- function() {
  !isTRUE(getOption("knitr.in.progress")) ||
    knitr::is_html_output(excludes = c("markdown", "gfm", "epub"))
}

#' What there is to plot of some histories
#' @return A data frame as `as.data.frame()` gives it for a history, and the columns `run` (a factor); `shown`, the value
#'   as far as it is within the panel; `best`, whether the epoch has the lowest validation loss of its run.
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
        "`metrics` names %s, which the history does not have; it has %s.",
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
    stats::ave(data$value, data$metric, FUN = within_panel)
  }
  rownames(data) <- NULL
  data
}

#' Values, with those that would flatten the curve of the others at the edge of these
#'
#' Such is, of the highest or lowest tenth, what is more than 20 times as far from the rest as the rest is wide.
#' @noRd
within_panel <- function(values) {
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

best_text <- function(data) {
  best <- data[data$best & data$metric == "loss" & data$data == "validation", ]
  if (nrow(best) == 1) {
    sprintf("lowest validation loss: %s, epoch %d", format(best$value, digits = 4), best$epoch)
  }
}

# Okabe and Ito's colours, told apart by colour-blind readers; blue and vermilion are dark and light in grey print
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

plot_ggplot <- function(data, smooth, theme_bw, log) {
  .data <- rlang::.data
  several <- nlevels(data$run) > 1
  epochs <- length(unique(data$epoch))
  edge <- data[data$shown != data$value, ]
  best <- data[data$best & data$data == "validation", ]
  plot <- ggplot2::ggplot(
    data,
    ggplot2::aes(
      .data[["epoch"]],
      .data[["shown"]],
      colour = .data[[if (several) "run" else "data"]],
      linetype = .data[["data"]],
      group = interaction(.data[["run"]], .data[["data"]])
    )
  ) +
    (if (!several && nrow(best)) {
      ggplot2::geom_vline(xintercept = best$epoch[1], colour = "grey60", linewidth = 0.3)
    }) +
    (if (epochs > 1) {
      ggplot2::geom_line(
        alpha = if (smooth) 0.35 else 1,
        linewidth = if (epochs > 200) 0.4 else 0.6
      )
    }) +
    (if (epochs > 1 && smooth) ggplot2::geom_line(data = smoothed(data), linewidth = 0.9)) +
    (if (epochs <= 30) ggplot2::geom_point(ggplot2::aes(shape = .data[["data"]]), size = 1.5)) +
    (if (nrow(best)) {
      ggplot2::geom_point(data = best, shape = 21, size = 3, stroke = 0.8, show.legend = FALSE)
    }) +
    (if (nrow(edge)) {
      list(
        ggplot2::geom_point(
          data = edge,
          shape = ifelse(edge$value > edge$shown, 24, 25),
          fill = "white",
          show.legend = FALSE
        ),
        ggplot2::geom_text(
          ggplot2::aes(label = vapply(.data[["value"]], format, "", digits = 3)),
          data = edge,
          hjust = -0.25,
          size = 3,
          check_overlap = TRUE,
          show.legend = FALSE
        )
      )
    }) +
    ggplot2::facet_wrap("metric", ncol = panel_columns(nlevels(data$metric)), scales = "free_y") +
    (if (grepl("x", log)) {
      ggplot2::scale_x_log10()
    } else {
      ggplot2::scale_x_continuous(breaks = whole_breaks)
    }) +
    (if (grepl("y", log)) ggplot2::scale_y_log10()) +
    ggplot2::scale_colour_manual(
      values = if (several) run_colours(levels(data$run)) else data_colours
    ) +
    ggplot2::scale_linetype_manual(values = data_linetypes) +
    ggplot2::scale_shape_manual(values = data_shapes) +
    ggplot2::labs(
      x = "epoch",
      y = NULL,
      colour = NULL,
      linetype = NULL,
      shape = NULL,
      caption = if (!several) best_text(data)
    ) +
    history_theme(theme_bw)
  if (nlevels(data$data) == 1) {
    plot <- plot + ggplot2::guides(linetype = "none", shape = "none")
  }
  if (nlevels(data$data) == 1 && !several) {
    plot <- plot + ggplot2::theme(legend.position = "none")
  }
  plot
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

history_theme <- function(theme_bw) {
  own <- !theme_bw && identical(ggplot2::theme_get(), ggplot2::theme_grey())
  base <- if (theme_bw) {
    ggplot2::theme_bw()
  } else if (own) {
    ggplot2::theme_minimal()
  }
  list(
    base,
    ggplot2::theme(
      legend.position = "top",
      legend.justification = "left",
      legend.key.width = ggplot2::unit(1.6, "lines"),
      strip.text = ggplot2::element_text(hjust = 0),
      strip.background = ggplot2::element_blank(),
      panel.grid.minor = ggplot2::element_blank()
    ),
    if (own) {
      ggplot2::theme(
        strip.text = ggplot2::element_text(hjust = 0, face = "bold", size = ggplot2::rel(1)),
        panel.grid.major.x = ggplot2::element_blank(),
        axis.line.x = ggplot2::element_line(colour = "grey70", linewidth = 0.3),
        axis.ticks.x = ggplot2::element_line(colour = "grey70", linewidth = 0.3),
        plot.caption = ggplot2::element_text(colour = "grey40")
      )
    }
  )
}

whole_breaks <- function(limits) {
  breaks <- unique(round(pretty(limits)))
  breaks <- breaks[breaks >= max(1, limits[1]) & breaks <= limits[2]]
  if (length(breaks)) breaks else round(limits[1])
}

#' The data with values on a loess curve, for each curve that has at least ten epochs
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

plot_base <- function(data, smooth, log, ...) {
  metrics <- levels(data$metric)
  columns <- panel_columns(length(metrics))
  rows <- ceiling(length(metrics) / columns)
  # the margins, up to 5 lines, are at most half of a panel
  cex <- min(0.9, graphics::par("din") / c(columns, rows) / (10 * graphics::par("csi")))
  old <- graphics::par(
    mfrow = c(rows, columns),
    mar = c(3, 3.5, 2, 1),
    mgp = c(2, 0.6, 0),
    cex = cex
  )
  on.exit(graphics::par(old))
  graphics::par(mar = c(3, max(3.5, 1.5 + label_lines(data, log)), 2, 1))
  own <- list(...)
  ours <- list(
    xlab = "epoch",
    ylab = "",
    xaxt = if (grepl("x", log)) "s" else "n",
    las = 1,
    bty = "l"
  )
  frame <- c(own[names(own) != "type"], ours[setdiff(names(ours), names(own))])
  by <- if (nlevels(data$run) > 1) "run" else "data"
  colours <- if (by == "run") run_colours(levels(data$run)) else data_colours
  for (metric in metrics) {
    panel <- data[data$metric == metric, ]
    rlang::inject(plot(panel$epoch, panel$shown, type = "n", log = log, !!!frame))
    graphics::title(metric, adj = 0, line = 0.6)
    if (!grepl("x", log) && is.null(own$xaxt)) {
      graphics::axis(1, whole_breaks(range(panel$epoch)))
    }
    for (curve in split(panel, list(panel$data, panel$run), drop = TRUE)) {
      plot_curve(curve, colours[[as.character(curve[[by]][1])]], smooth, own$type)
    }
    label_edge(panel[panel$shown != panel$value, ])
    if (metric == metrics[[1]]) base_legend(data, colours)
  }
}

#' How many lines of the margin the widest label of the y axes takes
#' @noRd
label_lines <- function(data, log) {
  labels <- unlist(lapply(split(data$shown, data$metric), function(values) {
    format(
      if (grepl("y", log)) {
        grDevices::axisTicks(log10(range(values)), log = TRUE)
      } else {
        pretty(values)
      }
    )
  }))
  max(graphics::strwidth(labels, "inches")) / graphics::par("csi") / graphics::par("cex")
}

plot_curve <- function(curve, colour, smooth, type) {
  set <- as.character(curve$data[1])
  type <- type %||% if (nrow(curve) <= 30) "o" else "l"
  graphics::lines(
    curve$epoch,
    curve$shown,
    type = type,
    col = colour,
    lty = data_linetypes[[set]],
    pch = data_shapes[[set]]
  )
  if (smooth) {
    graphics::lines(smoothed(curve)[c("epoch", "shown")], col = colour, lwd = 2)
  }
  edge <- curve[curve$shown != curve$value, ]
  graphics::points(
    edge$epoch,
    edge$shown,
    col = colour,
    bg = "white",
    pch = ifelse(edge$value > edge$shown, 24, 25)
  )
  best <- curve[curve$best & curve$data == "validation", ]
  graphics::points(best$epoch, best$shown, col = colour, pch = 21, cex = 2)
}

#' The values at the edge of a panel, beside their points; where they would be written over each other, those of the
#' first epochs
#' @noRd
label_edge <- function(edge) {
  edge <- edge[order(edge$epoch), ]
  labels <- vapply(edge$value, format, "", digits = 3)
  left <- graphics::grconvertX(edge$epoch, "user", "inches")
  bottom <- graphics::grconvertY(edge$shown, "user", "inches")
  width <- 1.2 * graphics::strwidth(labels, "inches", cex = 0.8)
  height <- 1.2 * graphics::strheight(labels, "inches", cex = 0.8)
  written <- integer()
  for (i in seq_along(labels)) {
    over <- abs(bottom[written] - bottom[i]) < height[i] & left[written] + width[written] > left[i]
    if (!any(over)) written <- c(written, i)
  }
  if (length(written)) {
    graphics::text(edge$epoch[written], edge$shown[written], labels[written], pos = 4, cex = 0.8)
  }
}

base_legend <- function(data, colours) {
  runs <- if (nlevels(data$run) > 1) levels(data$run)
  sets <- if (nlevels(data$data) > 1) levels(data$data)
  if (is.null(runs) && is.null(sets)) {
    return()
  }
  graphics::legend(
    "topright",
    c(runs, sets),
    bty = "n",
    col = c(colours[runs], if (is.null(runs)) colours[sets] else rep("grey40", length(sets))),
    lty = c(rep("solid", length(runs)), data_linetypes[sets]),
    pch = c(rep(NA, length(runs)), data_shapes[sets])
  )
}
