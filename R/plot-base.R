#' Plot histories with base graphics
#' @param data What `plot_data()` returns.
#' @noRd
plot_base <- function(data, smooth, log, ...) {
  metrics <- levels(data$metric)
  columns <- panel_columns(length(metrics))
  rows <- ceiling(length(metrics) / columns)
  # keep the margins, up to 5 lines, below half of a panel
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

#' The width of the widest label of the y axes, in lines of the margin
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

#' Label the values at the edge of a panel; where labels would overlap, the earlier epoch has
#' priority
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
