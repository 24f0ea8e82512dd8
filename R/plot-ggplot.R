#' Plot histories with ggplot2
#' @param data What `plot_data()` returns.
#' @noRd
plot_ggplot <- function(data, smooth, theme_bw, log) {
  .data <- rlang::.data
  several <- nlevels(data$run) > 1
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
    history_layers(data, smooth, several) +
    outlier_layers(data[data$shown != data$value, ]) +
    ggplot2::facet_wrap("metric", ncol = panel_columns(nlevels(data$metric)), scales = "free_y") +
    history_scales(data, log, several) +
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

#' Lines, points and the marks of the best epochs
#' @noRd
history_layers <- function(data, smooth, several) {
  .data <- rlang::.data
  epochs <- length(unique(data$epoch))
  best <- data[data$best & data$data == "validation", ]
  list(
    if (!several && nrow(best)) {
      ggplot2::geom_vline(xintercept = best$epoch[1], colour = "grey60", linewidth = 0.3)
    },
    if (epochs > 1) {
      ggplot2::geom_line(
        alpha = if (smooth) 0.35 else 1,
        linewidth = if (epochs > 200) 0.4 else 0.6
      )
    },
    if (epochs > 1 && smooth) ggplot2::geom_line(data = smoothed(data), linewidth = 0.9),
    if (epochs <= 30) ggplot2::geom_point(ggplot2::aes(shape = .data[["data"]]), size = 1.5),
    if (nrow(best)) {
      ggplot2::geom_point(data = best, shape = 21, size = 3, stroke = 0.8, show.legend = FALSE)
    }
  )
}

#' Triangles with their values, for values outside of the panel
#' @noRd
outlier_layers <- function(outliers) {
  .data <- rlang::.data
  if (!nrow(outliers)) {
    return(NULL)
  }
  list(
    ggplot2::geom_point(
      data = outliers,
      shape = ifelse(outliers$value > outliers$shown, 24, 25),
      fill = "white",
      show.legend = FALSE
    ),
    ggplot2::geom_text(
      ggplot2::aes(label = vapply(.data[["value"]], format, "", digits = 3)),
      data = outliers,
      hjust = -0.25,
      size = 3,
      check_overlap = TRUE,
      show.legend = FALSE
    )
  )
}

history_scales <- function(data, log, several) {
  list(
    if (grepl("x", log)) {
      ggplot2::scale_x_log10()
    } else {
      ggplot2::scale_x_continuous(breaks = whole_breaks)
    },
    if (grepl("y", log)) ggplot2::scale_y_log10(),
    ggplot2::scale_colour_manual(
      values = if (several) run_colours(levels(data$run)) else data_colours
    ),
    ggplot2::scale_linetype_manual(values = data_linetypes),
    ggplot2::scale_shape_manual(values = data_shapes)
  )
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
